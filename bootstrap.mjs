// Plain JavaScript for any Node >= 18: finds a Node that runs TypeScript as it is (>= 24.12), or installs the one that runtime/ locks,
// installs what package-lock.json says, and runs the rest of the arguments there. Says what it does on stderr; stdout is the program's.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import module from 'node:module'
import { constants } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(fileURLToPath(import.meta.url))
const platform = `${process.platform}-${process.arch}`
const say = (text) => process.stderr.write(`${text}\n`)
const fail = (text) => {
  say(text)
  process.exit(1)
}

function runsTypeScript() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 12)
}

// ---- One installer at a time: a directory can be made only once. Its owner is named by process id and start time.

const lock = join(root, '.cache', 'bootstrap.lock')
const startOf = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop().split(' ')[19]
  } catch {
    return existsSync('/proc/self') ? null : alive(pid)
  }
}
const alive = (pid) => {
  try {
    return process.kill(pid, 0) && 'alive'
  } catch {
    return null
  }
}

function lockIsStale() {
  try {
    const [pid, start] = readFileSync(join(lock, 'owner'), 'utf8').split(' ')
    return startOf(Number(pid)) !== start
  } catch {
    try {
      return Date.now() - statSync(lock).mtimeMs > 10_000 // its maker died before it wrote its name
    } catch {
      return false // gone meanwhile
    }
  }
}

async function locked(work) {
  mkdirSync(dirname(lock), { recursive: true })
  for (let waits = 0; ; waits += 1) {
    try {
      mkdirSync(lock)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (lockIsStale()) {
        const aside = `${lock}.stale-${process.pid}`
        try {
          renameSync(lock, aside)
          rmSync(aside, { recursive: true, force: true })
        } catch {} // somebody else took it away
        continue
      }
      if (waits === 0) say('Another process is installing; waiting for it.')
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
  writeFileSync(join(lock, 'owner'), `${process.pid} ${startOf(process.pid)}`)
  try {
    return work()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

// ---- What is installed is known by a hash of its lock file.

const wanted = (folder) =>
  createHash('sha256')
    .update(readFileSync(join(folder, 'package-lock.json')))
    .update(platform)
    .digest('hex')
const stampOf = (folder) => join(folder, 'node_modules', '.installed')

function isInstalled(folder) {
  try {
    if (lstatSync(join(folder, 'node_modules')).isSymbolicLink()) return true // kept by somebody else
    return readFileSync(stampOf(folder), 'utf8') === wanted(folder)
  } catch {
    return false
  }
}

function install(folder, node, what) {
  if (isInstalled(folder)) return
  rmSync(stampOf(folder), { force: true })
  say(`Installing ${what} ...`)
  const began = Date.now()
  const env = { ...process.env, PATH: [dirname(node), process.env.PATH].join(delimiter) }
  for (const name of Object.keys(env)) if (/^npm_(config_(local_)?prefix|package_|lifecycle_)/.test(name)) delete env[name]
  const options = { cwd: folder, env, stdio: ['ignore', 2, 2] }
  const args = ['ci', '--no-fund', '--no-audit', '--loglevel=error']
  const npm = process.env.npm_execpath // set by `npm start`; otherwise npm from PATH
  const result = npm ? spawnSync(node, [npm, ...args], options) : spawnSync('npm', args, options)
  if (result.error) fail(`npm could not be run: ${result.error.message}. Install npm and try again.`)
  if (result.signal) process.exit(128 + constants.signals[result.signal])
  if (result.status !== 0) {
    const where = relative(process.cwd(), folder) || '.'
    fail(
      `${what[0].toUpperCase()}${what.slice(1)} could not be installed: npm ci failed in ${where} (its words are above). Is the package registry reachable?`,
    )
  }
  mkdirSync(join(folder, 'node_modules'), { recursive: true })
  writeFileSync(stampOf(folder), wanted(folder))
  say(`Installed ${what} in ${((Date.now() - began) / 1000).toFixed(1)} s.`)
}

const runtime = join(root, 'runtime')
const own = runsTypeScript()
const node = own ? process.execPath : join(runtime, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')
const ready = () => isInstalled(root) && (own || (isInstalled(runtime) && existsSync(node)))

if (!own && !(process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch))) {
  fail(
    `Node 24.12 or newer is needed; this is ${process.versions.node}, and none is packaged for ${platform}. Install it and try again.`,
  )
}
if (!ready()) {
  await locked(() => {
    if (!own) install(runtime, process.execPath, `Node 24 (this one is ${process.versions.node})`)
    if (!existsSync(node))
      fail(`Node 24 was installed but ${relative(process.cwd(), node)} is missing. Remove runtime/node_modules and try again.`)
    install(root, node, 'the packages of package-lock.json')
  })
}

const [script, ...args] = process.argv.slice(2)
if (!script) fail('usage: node bootstrap.mjs SCRIPT [ARGUMENTS]')
const cache = join(root, 'node_modules', '.cache', 'node')
if (own) {
  process.argv = [process.execPath, join(root, script), ...args]
  module.enableCompileCache?.(cache)
  await import(pathToFileURL(join(root, script)).href)
} else {
  const path = [dirname(node), join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
  const child = spawn(node, [join(root, script), ...args], {
    env: { ...process.env, NODE_COMPILE_CACHE: cache, PATH: path },
    stdio: 'inherit',
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fail(`${relative(process.cwd(), node)} could not be run: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)))
}
