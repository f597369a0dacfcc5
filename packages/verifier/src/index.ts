/** Verifies Cerrojo's access tokens in the servers that receive them. */
export { authenticate, type Refusal } from './bearer.ts'
export { VerifierError, type VerifierErrorCode } from './errors.ts'
export {
  type AccessClaims,
  createVerifier,
  type DecryptionKeySource,
  type Verifier,
  type VerifierOptions,
} from './verifier.ts'
