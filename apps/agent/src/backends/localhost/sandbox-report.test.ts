import { describe, expect, test } from 'vitest'
import { readSandboxReport, signalName } from './sandbox-report.ts'

const born = '{ "child-pid": 4711, "pid-namespace": 4026532181 }\n'
const bySignal = 'setsid: child 3 did not exit normally: Success\n'

describe('readSandboxReport', () => {
  test.each([
    ['an exit', `${born}{ "exit-code": 137 }\n`, { exitCode: 137, signal: null }],
    ['a signal', `${born}${bySignal}{ "exit-code": 9 }\n`, { exitCode: null, signal: 'SIGKILL' }],
    [
      'a signal with a core dump',
      `${born}${bySignal}{ "exit-code": 139 }\n`,
      { exitCode: null, signal: 'SIGSEGV' },
    ],
    ['no end', born, null],
  ])('reads %s', (_, note, end) => {
    expect(readSandboxReport(note)).toMatchObject({ init: 4711, end })
  })

  test('reads why there is no sandbox', () => {
    const note = `${born}bwrap: Can't find source path /x: No such file or directory\n`
    expect(readSandboxReport(note)).toEqual({
      init: 4711,
      end: null,
      text: "bwrap: Can't find source path /x: No such file or directory",
    })
    expect(readSandboxReport('')).toEqual({ init: undefined, end: null, text: '' })
  })

  test('believes a first process only on the first line, which no program can write', () => {
    expect(readSandboxReport(`bwrap: something\n{ "child-pid": 1 }\n`).init).toBeUndefined()
  })
})

test('signals without a name have a number', () => {
  expect([signalName(15), signalName(6), signalName(40)]).toEqual(['SIGTERM', 'SIGABRT', 'SIG40'])
})
