//! Columns as kubectl prints them: three spaces apart, no lines.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Rows below a heading, ready to print. Without rows it is empty.
pub(crate) fn render(heading: Option<&[&str]>, rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some(heading) = heading {
        table.set_header(heading);
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_three_spaces_apart() {
        let rows = vec![vec!["a".to_owned(), "bb".to_owned()], vec!["long-name".to_owned(), "c".to_owned()]];
        assert_eq!(
            super::render(Some(&["NAME", "X"]), &rows),
            "NAME        X\na           bb\nlong-name   c\n"
        );
    }
}
