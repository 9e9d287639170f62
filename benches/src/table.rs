//! Tables, as aligned text and as Markdown.

/// A table: the first column is text, the others are figures.
#[derive(Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The table with aligned columns, numbers to the right.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = self.head.iter().enumerate().map(|(column, _)| if column == 0 { "---|" } else { "---:|" });
        let mut text = line(&self.head) + "|" + &rule.collect::<String>() + "\n";
        self.rows.iter().for_each(|row| text += &line(row));
        text
    }
}

/// A whole number in groups of three: `170,700`.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` with two decimals, or `-` for `None`.
pub fn decimal(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_and_markdown_is_a_table() {
        let mut table = Table::new(["server", "RPS"]);
        table.row(["µ".into(), grouped(1_234_567.4)]);
        table.row(["wasm".into(), grouped(12.0)]);
        assert_eq!(table.text(), "server        RPS\nµ       1,234,567\nwasm           12\n");
        let expected = "| server | RPS |\n|---|---:|\n| µ | 1,234,567 |\n| wasm | 12 |\n";
        assert_eq!(table.markdown(), expected);
    }
}
