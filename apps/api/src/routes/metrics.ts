import { Hono } from 'hono'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { pause } from '../live/pause.ts'
import { metricsContentType, renderMetrics } from '../metrics/render-metrics.ts'
import type { ReadLoad } from '../store/read-load.ts'

/** For Prometheus, with any key. What the database does not tell in time is left out. */
export function metricsRoute(
  { metrics, dispatch, live, time, ready }: Pick<Parts, 'metrics' | 'dispatch' | 'live' | 'time' | 'ready'>,
  readLoad: ReadLoad,
) {
  return new Hono<AppEnv>().get('/metrics', async (c) => {
    validQuery(c, noQuery)
    const here = { ...dispatch.here(), followers: live.listeners }
    const text = await renderMetrics(metrics, here, ready() ? await loadInTime() : undefined)
    return c.body(text, 200, { 'content-type': metricsContentType })
  })

  async function loadInTime() {
    const late = pause(time.figuresWithinMs)
    const load = await Promise.race([readLoad().catch(() => undefined), late.over.then(() => undefined)])
    late.end()
    return load
  }
}
