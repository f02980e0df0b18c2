/** Now, as names carry it: `20260102T030405Z`. */
export const timestamp = (): string => new Date().toISOString().replace(/[-:]/g, '').replace(/\.\d+/, '')
