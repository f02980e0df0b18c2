/** Secrets under a key of the tests' own. */
import { secretsUnder } from '../../src/adapters/secrets/sealed.ts'

export const testSecrets = secretsUnder(Buffer.alloc(32, 7))
