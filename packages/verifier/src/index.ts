/** Verifies Cerrojo's access tokens in the servers that receive them. */
export type { AccessClaims, Auth, Verifier } from './auth.ts'
export { type Anonymous, type Authenticated, authenticate, type TokenOptions } from './bearer.ts'
export { VerifierError, type VerifierErrorCode } from './errors.ts'
export { createRemoteVerifier, type RemoteVerifierOptions } from './remote.ts'
export { createVerifier, type IssuerOptions, type VerifierOptions } from './verifier.ts'
