/** Where the migrations lie; one set for PGlite and PostgreSQL. */
export const migrationsFolder = new URL('./migrations/', import.meta.url)
