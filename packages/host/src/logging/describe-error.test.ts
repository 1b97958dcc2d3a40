import { execa } from 'execa'
import { describe, expect, test } from 'vitest'
import { describeError } from './describe-error.ts'

const secret = 'print("hunter2")'

describe('describeError', () => {
  test('keeps type, message, code, frames and causes', () => {
    const cause = Object.assign(new Error('no such file'), { code: 'ENOENT' })
    const described = describeError(new RangeError('cannot start', { cause }))
    expect(described).toMatchObject({
      type: 'RangeError',
      message: 'cannot start',
      cause: { message: 'no such file', code: 'ENOENT' },
    })
    expect(described.stack).toMatch(/^RangeError: cannot start\n {4}at .*describe-error\.test\.ts/)
  })

  test('names a class that did not name itself', () => {
    class SlotTaken extends Error {}
    expect(describeError(new SlotTaken('x')).type).toBe('SlotTaken')
  })

  test('describes the errors of an aggregate', () => {
    const { errors } = describeError(new AggregateError([new Error('a'), secret, new Error('b')], 'both'))
    expect(errors?.map(({ message }) => message)).toEqual(['a', 'b'])
  })

  test('ends for an error that is its own cause', () => {
    const error = new Error('round')
    error.cause = error
    expect(describeError(error).cause).toMatchObject({ message: 'round' })
  })

  test.each([
    [
      'fields attached by a library',
      Object.assign(new Error('x'), { detail: secret, args: [secret], query: secret }),
    ],
    ['a cause that is no error', new Error('x', { cause: secret })],
    ['a statement and its parameters', statementError()],
    [
      'a value that PostgreSQL refused',
      databaseError('22P02', `invalid input syntax for integer: "${secret}"`),
    ],
    ['a text that is no JSON', thrownBy(() => JSON.parse(secret))],
  ])('leaves out %s', (_name, error) => {
    expect(JSON.stringify(describeError(error))).not.toContain('hunter2')
  })

  test('leaves out the command line and the output of a process', async () => {
    const error = await execa('sh', ['-c', 'echo hunter2; echo hunter2 >&2; exit 3']).catch(
      (thrown: Error) => thrown,
    )
    if (!Error.isError(error)) throw new Error('the process succeeded')
    expect(error.message).toContain('hunter2')
    expect(JSON.stringify(describeError(error))).not.toContain('hunter2')
  })

  test('keeps what PostgreSQL says of its own objects', () => {
    const error = databaseError('42P01', 'relation "jobs" does not exist')
    expect(describeError(error)).toMatchObject({ code: '42P01', message: 'relation "jobs" does not exist' })
  })
})

function statementError(): Error {
  const message = `Failed query: insert into jobs values ($1)\nparams: ${secret}`
  return Object.assign(new Error(message), { query: 'insert into jobs values ($1)', params: [secret] })
}

function databaseError(code: string, message: string): Error {
  return Object.assign(new Error(message), { severity: 'ERROR', code, parameters: [secret], query: secret })
}

function thrownBy(act: () => unknown): Error {
  try {
    act()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}
