//! Columns under headings, set with blanks.

/// Cells narrower than this are widened, and this many blanks follow each: docker's own measures,
/// which scripts that cut columns rely on.
const MIN_WIDTH: usize = 10;
const GAP: usize = 3;

/// Aligns lines of cells; the last cell of a line is not padded.
pub(crate) fn align(lines: &[Vec<String>]) -> String {
    align_by(MIN_WIDTH, GAP, lines)
}

/// The same with columns that are at least `min` wide and have `gap` blanks behind the widest cell.
pub(crate) fn align_by(min: usize, gap: usize, lines: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate().take(line.len().saturating_sub(1)) {
            if widths.len() <= column {
                widths.resize(column + 1, min);
            }
            widths[column] = widths[column].max(cell.chars().count() + gap);
        }
    }
    let mut out = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_at_least_ten_wide_and_three_apart() {
        let lines = [["ID", "REPOSITORY", "TAG"], ["1", "a-long-name", ""]];
        let lines: Vec<Vec<String>> =
            lines.iter().map(|line| line.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(align(&lines), "ID        REPOSITORY    TAG\n1         a-long-name   \n");
    }
}
