import { defineConfig } from 'drizzle-kit'

/** `npx drizzle-kit generate --config drizzle/drizzle.config.ts --name what_it_changes`, from the root. */
export default defineConfig({
  dialect: 'postgresql',
  schema: './drizzle/schema.ts',
  out: './drizzle/migrations',
})
