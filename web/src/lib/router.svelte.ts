/** Where in the app one is: the part of the address behind #, so that any path of a server will do. */

export interface Place {
  readonly path: readonly string[];
  readonly params: URLSearchParams;
}

export function parsed(hash: string): Place {
  const [path = "", search = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), params: new URLSearchParams(search) };
}

let place = $state.raw(parsed(location.hash));

addEventListener("hashchange", () => {
  place = parsed(location.hash);
});

/** The place; reading it in an effect follows it. */
export function here(): Place {
  return place;
}

/** The address of a place, for links. */
export function to(path: string, params: Record<string, string | number | readonly string[] | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined || value === "") continue;
    for (const each of Array.isArray(value) ? (value as readonly string[]) : [String(value)]) search.append(name, each);
  }
  const text = search.toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Goes to a place; `replace` leaves no trace in the history. */
export function go(hash: string, replace = false): void {
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  place = parsed(hash);
}
