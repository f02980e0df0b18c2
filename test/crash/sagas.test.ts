/** Every saga through every accident, on storage that keeps one point a layer. */
import { crashSuite } from '../support/crash/suite.ts'

crashSuite('one')
