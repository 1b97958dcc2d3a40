import { describe, expect, it } from 'vitest'
import { answered, engineFault, isAway } from './engine-fault.ts'

const coded = (code: string): Error => Object.assign(new Error('words of the platform'), { code })
const fault = (error: unknown) => engineFault(error, 'unix:///run/docker.sock', 'start a container')

describe('engineFault', () => {
  it.each([
    ['ENOENT', 'absent', 'does not answer (ENOENT): is it running?'],
    ['ECONNREFUSED', 'absent', 'does not answer (ECONNREFUSED): is it running?'],
    ['EACCES', 'denied', "may not be used by the agent's user (EACCES): add it to the group docker"],
    [
      'ECONNRESET',
      'cut',
      'closed the connection (ECONNRESET) when asked to start a container: it may have ended',
    ],
    ['EPIPE', 'cut', 'closed the connection (EPIPE)'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'untrusted', 'is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT)'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'untrusted', 'is not trusted'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'untrusted', 'is not trusted'],
    ['EVERYTHING_ELSE', 'cut', 'could not be asked to start a container: words of the platform'],
  ])('by the code %s is %s, in words', (code, kind, words) => {
    const told = fault(coded(code))
    expect(told.kind).toBe(kind)
    expect(told.message).toContain(`the Docker Engine at unix:///run/docker.sock ${words}`)
    expect(isAway(told)).toBe(true)
  })

  it("tells an answer by its status, with the Engine's words in one line", () => {
    const told = fault(Object.assign(new Error('x'), { statusCode: 409, json: { message: 'in\n use ' } }))
    expect(told.message).toBe(
      'the Docker Engine at unix:///run/docker.sock did not start a container: in use',
    )
    expect([answered(told, 409), answered(told, 404), isAway(told)]).toEqual([true, false, false])
    expect(
      fault(Object.assign(new Error('x'), { statusCode: 502, json: Buffer.from('<html>') })).message,
    ).toContain('did not start a container: HTTP 502')
  })

  it("finds the Engine's words where dockerode has them in its own alone", () => {
    const told = fault(
      Object.assign(new Error('(HTTP code 404) unexpected - not\n here '), { statusCode: 404, json: null }),
    )
    expect(told).toMatchObject({ status: 404, said: 'not here' })
    expect(told.message).toContain('did not start a container: not here')
  })

  it('takes an error within an answer for one, without a status', () => {
    const told = fault(Object.assign(new Error('no space'), { json: { message: 'no space' } }))
    expect(told).toMatchObject({ kind: 'answered', status: undefined, said: 'no space' })
    expect(isAway(told)).toBe(false)
  })

  it('stays what it is', () => {
    const told = fault(coded('EPIPE'))
    expect(fault(told)).toBe(told)
  })
})
