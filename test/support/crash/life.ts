/**
 * One life of a controller, and how it may end. Every journal write and every call to the world passes here, so that the
 * process can be killed before or after each, a reply can be lost, or another controller can take over in between. A dead
 * controller does nothing any more: what it still has in flight rejects before it has an effect.
 */
import type pg from 'pg'
import { database } from '../../../src/adapters/database/connect.ts'
import { fencedBy } from '../../../src/adapters/database/fenced.ts'
import { refuse } from '../../../src/domain/refusals.ts'
import type { Claim, Journal } from '../../../src/ports/journal.ts'
import type { Db } from '../../../src/ports/tables.ts'

/** A place where something may go wrong: `journal.done makeLayer`, `storage.newLayer`, `database.update`. */
export type Point = { readonly kind: 'journal' | 'world'; readonly name: string; readonly reads: boolean }

export type Accident = 'crash before' | 'crash after' | 'reply lost' | 'taken over'
export type Fault = { readonly at: number; readonly accident: Accident }

export class Crash extends Error {
  override readonly name = 'Crash'
}

export class Life {
  readonly points: Point[] = []
  readonly #fault: Fault | null
  readonly #takeOver: () => Promise<void>
  #dead = false

  constructor(fault: Fault | null = null, takeOver: () => Promise<void> = async () => {}) {
    this.#fault = fault
    this.#takeOver = takeOver
  }

  get passed(): boolean {
    return this.#fault === null || this.points.length > this.#fault.at
  }

  async pass<Output>(point: Point, run: () => Promise<Output>): Promise<Output> {
    this.#requireAlive()
    const accident = this.#fault?.at === this.points.push(point) - 1 ? this.#fault.accident : null
    if (accident === 'crash before') this.#die()
    if (accident === 'taken over') await this.#takeOver()
    const output = await run()
    if (accident === 'crash after') this.#die()
    if (accident === 'reply lost') throw refuse.hostUnreachable({ host: 'host1' })
    return output
  }

  /** A point inside a transaction: dying here takes it all back. */
  async passInside(name: string): Promise<void> {
    await this.pass({ kind: 'journal', name, reads: true }, async () => {})
  }

  journal(journal: Journal): Journal {
    const write = <Output>(name: string, run: () => Promise<Output>) =>
      this.pass({ kind: 'journal', name: `journal.${name}`, reads: false }, run)
    return {
      read: () => journal.read(),
      started: (step, attempt) => write(`started ${step}`, () => journal.started(step, attempt)),
      done: (step, output, warnings) => write(`done ${step}`, () => journal.done(step, output, warnings)),
      commit: (step, effect) =>
        write(`commit ${step}`, () =>
          journal.commit(step, async (tx) => {
            const committed = await effect(tx)
            await this.passInside(`inside commit ${step}`)
            return committed
          }),
        ),
      failed: (step, problem) => write(`failed ${step}`, () => journal.failed(step, problem)),
      gaveUp: (step, problem) => write(`gave up ${step}`, () => journal.gaveUp(step, problem)),
      undoing: (step) => write(`undoing ${step}`, () => journal.undoing(step)),
      undone: (step, warnings) => write(`undone ${step}`, () => journal.undone(step, warnings)),
      stuck: (step, problem, ms) => write(`stuck ${step}`, () => journal.stuck(step, problem, ms)),
      finished: (result) => write('finished', () => journal.finished(result)),
      wentBack: (because, effect) =>
        write('went back', () =>
          journal.wentBack(because, async (tx) => {
            await effect(tx)
            await this.passInside('inside going back')
          }),
        ),
      progress: (step, data) => journal.progress(step, data),
    }
  }

  /** The pool or host, each of whose calls passes here, after `admit`. */
  guard<Target extends object>(target: Target, name: string, admit: () => void): Target {
    return new Proxy(target, {
      get: (_target, property) => {
        const found: unknown = Reflect.get(target, property, target)
        if (typeof found !== 'function') return found
        const point: Point = { kind: 'world', name: `${name}.${String(property)}`, reads: reads.test(String(property)) }
        return (...args: unknown[]) =>
          this.pass(point, async () => {
            admit()
            return (await Reflect.apply(found, target, args)) as unknown
          })
      },
    })
  }

  /** The database as the saga's steps have it: each writing statement passes here, reads only while alive. */
  database(pool: pg.Pool, claim: Pick<Claim, 'operation' | 'epoch'>): Db {
    return database(pool, (plain) => {
      const ask = fencedBy(claim)(plain)
      return async (sql, parameters) => {
        const verb = /^\s*(insert|update|delete)/i.exec(sql)?.[1]
        if (verb) return this.pass({ kind: 'world', name: `database.${verb}`, reads: false }, () => ask(sql, parameters))
        this.#requireAlive()
        return ask(sql, parameters)
      }
    })
  }

  #die(): never {
    this.#dead = true
    throw new Crash()
  }

  #requireAlive(): void {
    if (this.#dead) throw new Crash()
  }
}

/** Calls that change nothing: to die or to be overtaken there is to be so at the call before or after. */
const reads =
  /^(readRecord|hasWriter|isEmpty|allocated|survey|space|hello|machine|machines|console|readIdentity|testVault|hasBackup|listBackups|verify)$/
