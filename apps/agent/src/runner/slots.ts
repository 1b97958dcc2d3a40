import { slotClass } from '@errand/shared'
import type { SlotClass, Slots as SlotCounts } from '@errand/shared'

interface ClassSlots {
  /** Rights that nobody has. */
  free: number
  /** Where a run may take place: its uid, its directories. */
  places: number[]
  /** Places are below this. */
  count: number
  /** Told the API, and no assignment has come for it yet. */
  granted: number
}

/** Places beyond the slots, so that the next run can start while one that has ended is cleared away. */
const sparePlaces = 4

/** How many places there are for so many slots. */
export function placesFor(slots: number): number {
  return slots === 0 ? 0 : slots + sparePlaces
}

/**
 * The rights to run one job, by class, and how many of them the API has been told of. A right is free again when the
 * program has ended; its place only when all that it left is gone.
 */
export class Slots {
  readonly #classes: Record<SlotClass, ClassSlots>

  constructor(counts: SlotCounts) {
    const make = (slots: number): ClassSlots => {
      const count = placesFor(slots)
      return {
        free: slots,
        // The lowest number is taken first: a mostly idle agent uses few.
        places: Array.from({ length: count }, (_, place) => count - 1 - place),
        count,
        granted: 0,
      }
    }
    this.#classes = { run: make(counts.run), ssh: make(counts.ssh), maintenance: make(counts.maintenance) }
  }

  /** A place for an assignment that has come; undefined when every slot is taken, or no place is clear. */
  take(name: SlotClass): number | undefined {
    const slots = this.#classes[name]
    if (slots.free <= 0 || slots.places.length === 0) return undefined
    slots.free -= 1
    return slots.places.pop()
  }

  /**
   * Of a run that an earlier process left in its place. With fewer slots than then there may be less than none free, and
   * its place may be beyond those there are.
   */
  occupy(name: SlotClass, place: number): void {
    const slots = this.#classes[name]
    slots.free -= 1
    slots.places = slots.places.filter((one) => one !== place)
  }

  /** Its program has ended: another may run. */
  vacate(name: SlotClass): void {
    this.#classes[name].free += 1
  }

  /** Nothing of it is left in its place. */
  clear(name: SlotClass, place: number): void {
    const { places, count } = this.#classes[name]
    if (place < count) places.push(place)
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
      more[name] = Math.max(0, Math.min(slots.free, slots.places.length) - slots.granted)
      slots.granted += more[name]
    }
    return more.run + more.ssh + more.maintenance > 0 ? more : undefined
  }

  /** A new session: the API has forgotten what it was told. */
  regrant(): void {
    for (const name of slotClass.options) this.#classes[name].granted = 0
  }
}
