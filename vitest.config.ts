import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{apps,packages}/*/{src,test}/**/*.test.ts', '{drizzle,infra,test}/**/*.test.ts'],
    globalSetup: ['infra/shared-postgres.ts', 'infra/test-shared-docker-engine.ts'],
    // Real processes, two databases and compilers share the machine's cores.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    maxWorkers: 2,
  },
})
