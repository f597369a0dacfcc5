/** Verifies Cerrojo's access tokens in the servers that receive them. */
export { authenticate, type Refusal } from './bearer.ts'
export type { AccessClaims } from './claims.ts'
export { VerifierError, type VerifierErrorCode } from './errors.ts'
export {
  createVerifier,
  type DecryptionKeySource,
  type Verifier,
  type VerifierOptions,
} from './verifier.ts'
