//! The three forms of a report.

use super::*;

fn heading() -> Heading {
    let [command, date, machine] = ["onsale bench x", "2026-01-02", "a machine"].map(str::to_owned);
    Heading { command, date, machine }
}

fn row() -> Row {
    let rate = Figure::beside(
        "rate",
        Unit::PerSecond,
        vec![900.0, 800.0, 990.0],
        ("bare", vec![1_000.0, 1_000.0, 1_100.0]),
    );
    let time = Figure::beside("time", Unit::Seconds, vec![2.0], ("bare", vec![1.0]));
    let rate = rate.goal(Goal::OfLimit(0.9)).goal(Goal::AtLeast(1_500.0));
    let time = time.goal(Goal::AtMost(2.0));
    Row { figures: vec![rate, time], notes: vec!["noted".to_owned()], ..Row::new("x", "an x") }
}

#[test]
fn a_ratio_is_the_middle_of_the_pairs_ratios_and_less_time_is_better() {
    let row = row();
    let ratio = row.figures[0].ratio().unwrap();
    assert_eq!((ratio.median, ratio.from, ratio.to), (0.9, 0.8, 0.9));
    assert_eq!(row.figures[1].ratio().unwrap().median, 0.5);
    assert_eq!(row.figures[0].meets(Goal::OfLimit(0.9)), Some(true));
    assert_eq!(row.figures[0].meets(Goal::AtLeast(901.0)), Some(false));
    assert_eq!(row.figures[1].meets(Goal::AtMost(1.9)), Some(false));
    let alone = Figure::alone("alone", Unit::Bytes, vec![1.0]);
    assert_eq!(alone.meets(Goal::OfLimit(0.1)), None);
}

#[test]
fn text_and_json_say_the_same() {
    let text = to_text(&[row()]);
    for part in ["900/s (800 – 990)", "0.90 (0.80 – 0.90)", "≥ 1,500/s: missed", "≤ 2 s: met"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let json = to_json(&[row()], &heading());
    let figure = &json["rows"][0]["figures"][0];
    assert_eq!(figure["ratio"]["median"], 0.9);
    assert_eq!(figure["limit"]["samples"][2], 1_100.0);
    assert_eq!(figure["goals"][1]["met"], false);
}

#[test]
fn markdown_goes_between_its_markers_and_nowhere_else() {
    let text = "# A\n<!-- onsale bench x -->\nold\n<!-- end -->\nkept\n<!-- onsale bench y -->\n\
                y\n<!-- end -->\n";
    let once = rewrite(text, &[row()], &heading()).unwrap();
    assert!(
        once.starts_with("# A\n<!-- onsale bench x -->\n`onsale bench x`, 2026-01-02"),
        "{once}"
    );
    assert!(once.contains("| rate | 900/s (800 – 990) | 1,000/s (1,000 – 1,100) bare | 0.90"));
    assert!(!once.contains("old") && once.contains("- noted\n<!-- end -->\nkept\n"), "{once}");
    assert!(once.ends_with("<!-- onsale bench y -->\ny\n<!-- end -->\n"), "{once}");
    assert_eq!(rewrite(&once, &[row()], &heading()).unwrap(), once);
    for broken in [
        "",
        "<!-- onsale bench x -->\n",
        "<!-- onsale bench x -->\n<!-- onsale bench y -->\n<!-- end -->",
    ] {
        assert!(rewrite(broken, &[row()], &heading()).is_err(), "{broken}");
    }
}

#[test]
fn numbers_have_three_digits_that_count() {
    let rows = [
        (0.0, "0"),
        (0.1234, "0.123"),
        (1.5, "1.50"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1_234_567.0, "1,234,567"),
        (5.0, "5"),
    ];
    for (figure, text) in rows {
        assert_eq!(number(figure), text);
    }
}
