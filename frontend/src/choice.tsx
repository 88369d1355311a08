// Two rows of a list, chosen to be compared.

import { useState } from "preact/hooks";
import { t } from "./i18n";
import type { Column } from "./parts";
import { go } from "./router";

export interface Choice {
  /** At most two, in the order in which they were chosen. */
  ids: string[];
  toggle: (id: string) => void;
}

/** The last two that were chosen. */
export function useChoice(): Choice {
  const [ids, setIds] = useState<string[]>([]);
  const toggle = (id: string) =>
    setIds((old) => (old.includes(id) ? old.filter((one) => one !== id) : [...old.slice(-1), id]));
  return { ids, toggle };
}

/** The column of boxes by which rows are chosen. */
export function choiceColumn<T>(choice: Choice, id: (row: T) => string, name: (row: T) => string): Column<T> {
  return {
    title: t("choose"),
    end: true,
    show: (row) => (
      <input
        type="checkbox"
        aria-label={`${t("choose")}: ${name(row)}`}
        checked={choice.ids.includes(id(row))}
        onChange={() => choice.toggle(id(row))}
      />
    ),
  };
}

/** Goes to the comparison of the two. */
export function Compare({ choice, hint, to }: { choice: Choice; hint: string; to: (ids: string[]) => string }) {
  return (
    <button type="button" disabled={choice.ids.length !== 2} title={hint} onClick={() => go(to(choice.ids))}>
      {t("compare")}
    </button>
  );
}
