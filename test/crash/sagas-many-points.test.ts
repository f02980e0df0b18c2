/** Every saga through every accident, on storage that keeps many points in a layer. */
import { crashSuite } from '../support/crash/suite.ts'

crashSuite('many')
