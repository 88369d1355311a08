import { signal } from "@preact/signals";

/** Where the page is: the address it can be reloaded and shared by. */
export const place = signal(read());

export interface Place {
  parts: string[];
  query: URLSearchParams;
}

function read(): Place {
  const parts = location.pathname.split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(location.search) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Goes to another address of the page. */
export function go(path: string) {
  history.pushState(null, "", path);
  place.value = read();
  window.scrollTo(0, 0);
  document.getElementById("main")?.focus({ preventScroll: true });
}

/** Changes a part of the query, and leaves no trace of it in the history. */
export function set(name: string, value: string | null) {
  const query = new URLSearchParams(location.search);
  if (value === null || value === "") query.delete(name);
  else query.set(name, value);
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
  place.value = read();
}

addEventListener("popstate", () => {
  place.value = read();
});

// Links within the page load nothing.
document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest?.("a");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target) return;
  if (link.origin !== location.origin || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
