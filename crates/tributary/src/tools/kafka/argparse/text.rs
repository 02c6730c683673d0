//! Texts as argparse4j sets them: justified, with what was perhaps meant.

use std::fmt::Write as _;

use super::super::usage::unbreakable_pieces;

/// Columns of the whole text.
pub const WIDTH: usize = 75;
/// Column at which help texts begin.
const HELP_COLUMN: usize = 25;

/// Names that look like what was typed.
pub fn did_you_mean<'a>(body: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut candidates: Vec<(usize, &str)> = names
        .map(|name| {
            let plain = name.trim_start_matches('-');
            (if plain.starts_with(body) { 0 } else { distance(body, plain) }, name)
        })
        .collect();
    candidates.sort();
    let Some((nearest, _)) = candidates.first().copied().filter(|(nearest, _)| *nearest < 7) else {
        return String::new();
    };
    let mut out = "\nDid you mean:\n".to_owned();
    for (_, name) in candidates.iter().take_while(|(far, _)| *far == nearest) {
        let _ = writeln!(out, "\t{name}");
    }
    out
}

/// Levenshtein's distance with argparse4j's weights: swap 0, substitute 2, add 1, delete 4.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let first: Vec<usize> = (0..=b.len()).collect();
    let mut rows = vec![first];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|r| r.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a.get(i - 1) == b.get(j - 1);
            let mut best = at(&rows, i - 1, j - 1) + if same { 0 } else { 2 };
            let swapped =
                i >= 2 && j >= 2 && !same && a.get(i - 2) == b.get(j - 1) && a.get(i - 1) == b.get(j - 2);
            if swapped {
                best = best.min(at(&rows, i - 2, j - 2));
            }
            best = best.min(at(&rows, i - 1, j) + 4).min(row.last().copied().unwrap_or_default() + 1);
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

/// Appends a line of the help: a title, and beside or below it the text.
pub fn print_help(out: &mut String, title: &str, help: &str) {
    let _ = write!(out, "  {title}");
    if !help.is_empty() {
        if title.len() <= 21 {
            let _ = write!(out, "{:1$}", "", HELP_COLUMN - 2 - title.len());
        } else {
            let _ = write!(out, "\n{:HELP_COLUMN$}", "");
        }
        out.push_str(&wrap(help, HELP_COLUMN, &" ".repeat(HELP_COLUMN)));
    }
    out.push('\n');
}

/// Breaks `text` into lines, of which all but the last are stretched to the full width. `offset` is where the first
/// begins, `indent` stands in front of the others.
pub fn wrap(text: &str, offset: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    let mut width = offset;
    for piece in unbreakable_pieces(text) {
        let piece_width = piece.chars().count();
        width += piece_width;
        if width > WIDTH {
            out.push_str(&stretch(&line, width - piece_width));
            out.push('\n');
            out.push_str(indent);
            line.clear();
            width = indent.len() + piece_width;
        }
        line.push_str(&piece);
        if piece.ends_with('\n') {
            out.push_str(&line);
            out.push_str(indent);
            line.clear();
            width = indent.len();
        }
    }
    out + &line
}

/// Puts spaces between the words of a line that is `width` wide, until it is full.
fn stretch(line: &str, width: usize) -> String {
    let trimmed = line.trim_matches(' ');
    let width = width - (line.chars().count() - trimmed.chars().count());
    let mut blocks = 0;
    let mut before = ' ';
    for c in trimmed.chars() {
        blocks += usize::from(c == ' ' && before != ' ');
        before = c;
    }
    if blocks == 0 {
        return trimmed.to_owned();
    }
    let missing = WIDTH.saturating_sub(width);
    let (each, rest) = (missing / blocks, missing % blocks);
    // The odd ones go to the middle.
    let rest_start = (blocks - rest).div_ceil(2);
    let mut out = String::new();
    let (mut block, mut before) = (0, ' ');
    for c in trimmed.chars() {
        if c == ' ' && before != ' ' {
            let more = each + usize::from((rest_start..rest_start + rest).contains(&block));
            out.push_str(&" ".repeat(more));
            block += 1;
        }
        out.push(c);
        before = c;
    }
    out
}
