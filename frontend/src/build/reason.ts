// Why a step was known or not.

import { t, type Word } from "../i18n";
import type { Hit, Miss } from "./model";

const HITS: Record<string, Word> = {
  definition: "hitDefinition",
  linked: "hitLinked",
  reads: "hitReads",
  elsewhere: "hitElsewhere",
  twin: "hitTwin",
  unneeded: "hitUnneeded",
};

export function hitText(hit: Hit): string {
  if (typeof hit === "string") return HITS[hit] ? t(HITS[hit]) : hit;
  const [kind, about] = Object.entries(hit)[0] ?? ["", {}];
  const same = (about.same ?? []).join(t("and"));
  if (kind === "imported") return same ? t("hitImportedSame", about.from ?? "", same) : t("hitImported", about.from ?? "");
  return same ? t("hitSame", same) : t("hitAsBefore");
}

/** In the words of bld, which are those of the command line. */
export function missText(miss: Miss): string {
  return miss.changes.join(", ");
}
