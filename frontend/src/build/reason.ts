// Why a step was known or not, in the words of bld.

import type { Hit, Miss } from "./model";

const HITS: Record<string, string> = {
  definition: "unchanged",
  linked: "the files are the same, and --link makes them independent of what is below",
  reads: "nothing that it read has changed",
  elsewhere: "another build made it just now",
  twin: "another step of this build is the same",
  unneeded: "not needed, as what uses it was cached",
};

export function hitText(hit: Hit): string {
  if (typeof hit === "string") return HITS[hit] ?? hit;
  const [kind, about] = Object.entries(hit)[0] ?? ["", {}];
  const same = (about.same ?? []).join(" and ");
  if (kind === "imported") return `imported from ${about.from}${same ? `: what it takes from ${same} is the same there` : ""}`;
  return same ? `what it takes from ${same} is the same, though made anew` : "what it works on is the same as before";
}

export function missText(miss: Miss): string {
  return miss.changes.join(", ");
}
