import { describe, expect, it } from 'vitest'
import { placesFor, Slots } from './slots.ts'

describe('Slots', () => {
  it('grants each free slot once', () => {
    const slots = new Slots({ run: 2, ssh: 1, maintenance: 0 })
    expect(slots.grant()).toEqual({ run: 2, ssh: 1, maintenance: 0 })
    expect(slots.grant()).toBeUndefined()
  })

  it('grants one again when it is free again, also when its assignment was not taken', () => {
    const slots = new Slots({ run: 1, ssh: 0, maintenance: 0 })
    slots.grant()
    slots.used('run')
    const slot = slots.take('run')!
    expect(slots.grant()).toBeUndefined()
    expect(slots.take('run')).toBeUndefined()
    slots.vacate('run')
    slots.clear('run', slot)
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
    slots.used('run')
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
  })

  it('never grants more than is free, even if more was assigned than granted', () => {
    const slots = new Slots({ run: 2, ssh: 0, maintenance: 0 })
    slots.used('run')
    slots.take('run')
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
  })

  it('grants every free slot anew in a new session', () => {
    const slots = new Slots({ run: 3, ssh: 0, maintenance: 0 })
    slots.grant()
    slots.used('run')
    slots.take('run')
    slots.regrant()
    expect(slots.grant()).toEqual({ run: 2, ssh: 0, maintenance: 0 })
  })

  it('grants one again as soon as its program has ended, with another place', () => {
    const slots = new Slots({ run: 1, ssh: 0, maintenance: 0 })
    const first = slots.take('run')
    slots.vacate('run')
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
    expect(slots.take('run')).not.toBe(first)
  })

  it('grants no more than can be placed, while too many are not cleared away', () => {
    const slots = new Slots({ run: 2, ssh: 0, maintenance: 0 })
    const taken = Array.from({ length: placesFor(2) - 1 }, () => {
      const place = slots.take('run')
      slots.vacate('run')
      return place
    })
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
    slots.clear('run', taken[0]!)
    expect(slots.grant()).toEqual({ run: 1, ssh: 0, maintenance: 0 })
  })

  it('numbers places from 0, and no two at a time alike', () => {
    const slots = new Slots({ run: 3, ssh: 0, maintenance: 0 })
    const taken = [slots.take('run'), slots.take('run'), slots.take('run')]
    expect(taken).toEqual([0, 1, 2])
  })
})
