import { slotClass } from '@errand/shared'
import type { SlotClass, Slots as SlotCounts } from '@errand/shared'

interface ClassSlots {
  free: number[]
  /** Told the API, and no assignment has come for it yet. */
  granted: number
}

/** The rights to run one job, by class, and how many of them the API has been told of. */
export class Slots {
  readonly #classes: Record<SlotClass, ClassSlots>

  constructor(counts: SlotCounts) {
    const make = (count: number): ClassSlots => ({
      // The lowest number is taken first: a mostly idle agent uses few.
      free: Array.from({ length: count }, (_, slot) => count - 1 - slot),
      granted: 0,
    })
    this.#classes = { run: make(counts.run), ssh: make(counts.ssh), maintenance: make(counts.maintenance) }
  }

  /** A slot for an assignment that has come; undefined when every one is taken. */
  take(name: SlotClass): number | undefined {
    return this.#classes[name].free.pop()
  }

  release(name: SlotClass, slot: number): void {
    this.#classes[name].free.push(slot)
  }

  /** An assignment has come: it used up what was granted, whether it is taken or not. */
  used(name: SlotClass): void {
    const slots = this.#classes[name]
    slots.granted = Math.max(0, slots.granted - 1)
  }

  /** What may be granted on top, counted as granted; undefined when there is nothing. */
  grant(): SlotCounts | undefined {
    const more: SlotCounts = { run: 0, ssh: 0, maintenance: 0 }
    for (const name of slotClass.options) {
      const slots = this.#classes[name]
      more[name] = Math.max(0, slots.free.length - slots.granted)
      slots.granted += more[name]
    }
    return more.run + more.ssh + more.maintenance > 0 ? more : undefined
  }

  /** A new session: the API has forgotten what it was told. */
  regrant(): void {
    for (const name of slotClass.options) this.#classes[name].granted = 0
  }
}
