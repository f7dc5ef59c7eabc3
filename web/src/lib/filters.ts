/** Filters as a part of the address. */

import { go, here, to } from "./router.svelte";

/** Those of the page. */
export const filtersHere = (): string[] => here().params.getAll("f");

/** Sets them, and leaves the rest of the address as it is. */
export function setFilters(filters: readonly string[]): void {
  const { path, params } = here();
  const rest: Record<string, string | readonly string[]> = {};
  for (const name of new Set(params.keys())) if (name !== "f") rest[name] = params.getAll(name);
  go(to(path.join("/"), { ...rest, f: filters }), true);
}
