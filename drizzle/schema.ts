/** Every table. Property names are the column names, so that rows of the builder and of plain SQL look alike. */
export * from './schema/agents.ts'
export * from './schema/control.ts'
export * from './schema/executors.ts'
export * from './schema/jobs.ts'
export * from './schema/keys.ts'
export * from './schema/results.ts'
