import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from 'prom-client'

/**
 * Figures of this process, read when they are asked for. Not prom-client's own set: that observes every garbage
 * collection for as long as the process lives.
 */
export function measureProcess(registry: Registry): void {
  const cpu = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of this process.',
    registers: [],
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
  const gauges = [
    gauge(
      'process_start_time_seconds',
      'When this process started, Unix time.',
      () => performance.timeOrigin / 1_000,
    ),
    gauge('process_resident_memory_bytes', 'Memory of this process.', () => process.memoryUsage.rss()),
    gauge('nodejs_heap_used_bytes', 'What of it is in the heap.', () => process.memoryUsage().heapUsed),
  ]
  for (const one of [cpu, ...gauges, eventLoopDelay()]) registry.registerMetric(one)
}

function gauge(name: string, help: string, read: () => number): Gauge {
  return new Gauge({
    name,
    help,
    registers: [],
    collect() {
      this.set(read())
    },
  })
}

/** Nanoseconds from one look at the loop to the next: what is longer is delay. */
const resolution = 20e6

function eventLoopDelay(): Gauge<'statistic'> {
  const histogram = monitorEventLoopDelay({ resolution: resolution / 1e6 })
  histogram.enable()
  // Until there was a look it says NaN.
  const seconds = (nanoseconds: number) => Math.max(0, (nanoseconds - resolution) / 1e9) || 0
  return new Gauge({
    name: 'nodejs_event_loop_delay_seconds',
    help: 'By how much timers were late since the last scrape.',
    labelNames: ['statistic'],
    registers: [],
    collect() {
      this.set({ statistic: 'p50' }, seconds(histogram.percentile(50)))
      this.set({ statistic: 'p99' }, seconds(histogram.percentile(99)))
      this.set({ statistic: 'max' }, seconds(histogram.max))
      histogram.reset()
    },
  })
}
