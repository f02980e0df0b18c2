import { qcow2Pool } from '../support/qcow2-pool.ts'
import { storageDriverConformance } from './storage-driver.ts'

storageDriverConformance('qcow2', () => qcow2Pool())
