// Rectangles whose areas are sizes: a squarified treemap (Bruls, Huizing, van Wijk).

export interface Box<T> {
  item: T;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Divides a rectangle among items; those of no size get nothing. */
export function treemap<T>(items: T[], size: (item: T) => number, width: number, height: number): Box<T>[] {
  const sorted = items.filter((item) => size(item) > 0).sort((a, b) => size(b) - size(a));
  const total = sorted.reduce((sum, item) => sum + size(item), 0);
  const boxes: Box<T>[] = [];
  if (total <= 0 || width <= 0 || height <= 0) return boxes;
  const scale = (width * height) / total;
  let [x, y, w, h] = [0, 0, width, height];
  let index = 0;
  while (index < sorted.length) {
    const side = Math.min(w, h);
    let row: T[] = [];
    let area = 0;
    let worst = Number.POSITIVE_INFINITY;
    while (index + row.length < sorted.length) {
      const item = sorted[index + row.length] as T;
      const more = area + size(item) * scale;
      const largest = size(sorted[index] as T) * scale;
      const smallest = size(item) * scale;
      const thick = more / side;
      const ratio = Math.max(largest / thick / thick, (thick * thick) / smallest);
      if (ratio > worst) break;
      worst = ratio;
      area = more;
      row = [...row, item];
    }
    const thick = area / side;
    let at = 0;
    for (const item of row) {
      const length = (size(item) * scale) / thick;
      boxes.push(
        w < h
          ? { item, x: x + at, y, width: length, height: thick }
          : { item, x, y: y + at, width: thick, height: length },
      );
      at += length;
    }
    if (w < h) {
      y += thick;
      h -= thick;
    } else {
      x += thick;
      w -= thick;
    }
    index += row.length;
  }
  return boxes;
}
