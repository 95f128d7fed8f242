//! Puts rows between their markers in a Markdown file; what stands around them stays.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use super::{Heading, Row, Table, number};

/// Puts each row between `<!-- onsale bench NAME -->` and `<!-- end -->`.
///
/// # Errors
/// A row has no such place in the text.
pub fn rewrite(text: &str, rows: &[Row], heading: &Heading) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for row in rows {
        let begin = format!("<!-- onsale bench {} -->\n", row.name);
        let after = text.find(&begin).map(|at| at + begin.len());
        let after = after.with_context(|| format!("there is no line `{}`", begin.trim_end()))?;
        let end = text[after..].find("<!-- end -->").map(|at| at + after);
        let end = end.with_context(|| format!("no `<!-- end -->` after `{}`", begin.trim_end()))?;
        let nested = text[after..end].contains("<!-- onsale bench ");
        ensure!(!nested, "another row begins before the end of `{}`", begin.trim_end());
        text.replace_range(after..end, &to_markdown(row, heading));
    }
    Ok(text)
}

fn to_markdown(row: &Row, heading: &Heading) -> String {
    let Heading { command, date, machine } = heading;
    let mut text = format!("`{command}`, {date}, {machine}.\n");
    if !row.figures.is_empty() {
        text += "\n| what | product | limit | of the limit | goal |\n|---|---|---|---|---|\n";
    }
    for figure in &row.figures {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let goals = Some(figure.goals_text()).filter(|text| !text.is_empty());
        let cells = [
            figure.name.clone(),
            figure.product_text(),
            or_none(figure.limit_text()),
            or_none(figure.ratio_text()),
            or_none(goals),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    for table in &row.tables {
        text += &table_text(table);
    }
    if !row.notes.is_empty() || !row.warnings.is_empty() {
        text.push('\n');
    }
    row.notes.iter().for_each(|note| _ = writeln!(text, "- {note}"));
    row.warnings.iter().for_each(|warning| _ = writeln!(text, "- Warning: {warning}"));
    text
}

fn table_text(table: &Table) -> String {
    let Table { title, plot, columns, lines } = table;
    let mut text = format!("\n{title}\n\n| {} |\n", columns.join(" | "));
    let _ = writeln!(text, "|{}", "--:|".repeat(columns.len()));
    for line in lines {
        let cells: Vec<String> = line.iter().map(|n| number(*n)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let _ = writeln!(text, "\n![{title}](plots/{plot}.svg)");
    text
}
