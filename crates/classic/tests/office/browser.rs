//! The pages in a real browser: what an organizer and a buyer do, and that everybody can.

use std::path::Path;

use crate::cdp::Browser;
use crate::support::{EMAIL, PASSWORD, Site, buy, stock, wanted};

/// Text whose contrast is too low, fields without a label, a page wider than the screen, a missing landmark or
/// heading: none is as it must be.
const FAULTS: &str = r#"(() => {
  const faults = [];
  const parse = colour => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const field = element.matches('input:not([type=hidden]), select, textarea');
    if (!element.checkVisibility() || !(words || field) || element.matches('option, progress')) continue;
    const [one, two] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 90)}`);
    if (field && !element.labels.length) faults.push(`no label: ${element.outerHTML.slice(0, 90)}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`${wide} pixels wide, the screen has ${innerWidth}`);
  if (document.documentElement.lang !== 'en') faults.push('no language');
  if (document.querySelectorAll('main').length !== 1) faults.push('no main part');
  if (document.querySelectorAll('h1').length !== 1) faults.push('no heading');
  if (!document.title) faults.push('no title');
  return faults;
})()"#;

/// Looks at the page as it is, on a phone and a desk, light and dark. With a folder in ONSALE_SCREENSHOTS it keeps
/// pictures there.
fn look(browser: &mut Browser, name: &str) {
    for (width, scheme) in [(1_280, "light"), (1_280, "dark"), (390, "light"), (390, "dark")] {
        browser.screen(width, scheme);
        let faults = browser.eval(FAULTS);
        assert_eq!(faults, serde_json::json!([]), "{name}, {width} pixels, {scheme}");
        if let Some(folder) = std::env::var_os("ONSALE_SCREENSHOTS") {
            browser.picture(&Path::new(&folder).join(format!("{name}-{width}-{scheme}.png")));
        }
    }
}

#[test]
fn an_organizer_logs_in_makes_an_event_sells_and_cancels_an_order() {
    let site = Site::start(10, Some(4));
    let (paid, office) = (site.sale.paid, format!("http://{}/office", site.address));
    let order = site.wait(buy(&site.db, wanted("customer-1", paid, 2))).unwrap();
    let mut browser = Browser::start();
    browser.go(&office);
    assert_eq!(browser.path(), "/office/login");
    look(&mut browser, "login");
    browser.fill("#email", EMAIL);
    browser.fill("#password", "a wrong password");
    browser.enter();
    assert!(browser.text().contains("Not logged in"));
    look(&mut browser, "login-wrong");
    browser.fill("#password", PASSWORD);
    browser.enter();
    assert_eq!(browser.path(), "/office");
    look(&mut browser, "events");

    browser.follow("a[href='/office/events/new']");
    browser.fill("#name", "Night of songs");
    browser.fill("#slug", "songs");
    browser.fill("#venue", "Old Harbour");
    browser.eval("document.querySelector('#starts_at').value = '2030-06-12T20:00'");
    browser.eval("document.querySelector('#sale_opens_at').value = '2029-06-12T20:00'");
    browser.eval("document.querySelector('#sale_closes_at').value = '2028-06-12T20:00'");
    browser.follow("form.card button.main");
    assert!(browser.text().contains("must be after the sale opens"), "{}", browser.text());
    look(&mut browser, "event-form-wrong");
    browser.eval("document.querySelector('#sale_opens_at').value = ''");
    browser.eval("document.querySelector('#sale_closes_at').value = ''");
    browser.follow("form.card button.main");
    assert_eq!(browser.path(), "/office/events/songs?done=saved");
    browser.follow("a[href$='/stocks/new']");
    browser.fill("#name", "Hall");
    browser.fill("#capacity", "300");
    look(&mut browser, "stock-form");
    browser.follow("form.card button.main");
    browser.follow("a[href$='/types/new']");
    browser.fill("#name", "Seat");
    browser.fill("#price", "12.50");
    look(&mut browser, "type-form");
    browser.follow("form.card button.main");
    browser.follow("button[value=on_sale]");
    assert!(browser.text().contains("It sells now"), "{}", browser.text());
    look(&mut browser, "event");

    browser.follow("nav a[href='/office/orders']");
    browser.fill("#q", &order.code);
    browser.enter();
    look(&mut browser, "orders");
    browser.follow(&format!("a[href='/office/orders/{}']", order.code));
    look(&mut browser, "order");
    assert_eq!(site.wait(stock(&site.db, site.sale.stock)).1, 2);
    browser.click("summary");
    browser.follow("button.danger");
    assert!(browser.text().contains("The order is cancelled"), "{}", browser.text());
    look(&mut browser, "order-cancelled");
    assert_eq!(site.wait(stock(&site.db, site.sale.stock)).1, 0);
    browser.follow(".who button");
    assert_eq!(browser.path(), "/office/login");
}

#[test]
fn a_buyer_gets_tickets_by_the_keyboard_alone() {
    let site = Site::start(10, Some(4));
    let mut browser = Browser::start();
    browser.go(&format!("http://{}/", site.address));
    look(&mut browser, "shop");
    // The first stop is the way past the header.
    browser.press("Tab", 9, "");
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    browser.press("Tab", 9, "");
    browser.press("Tab", 9, "");
    browser.enter();
    assert_eq!(browser.path(), "/events/concert");
    look(&mut browser, "shop-event");
    let field = format!("type-{}", site.sale.paid);
    browser.eval("document.querySelector('#content').focus()");
    for _ in 0..2 {
        browser.press("Tab", 9, "");
    }
    assert_eq!(browser.eval("document.activeElement.id"), serde_json::json!(field));
    browser.call("Input.insertText", serde_json::json!({ "text": "2" }));
    browser.enter();
    assert!(browser.text().contains("Awaiting payment"), "{}", browser.text());
    look(&mut browser, "shop-order");
    browser.follow("button.main");
    assert!(browser.text().contains("Your tickets"), "{}", browser.text());
    look(&mut browser, "shop-order-paid");
    assert_eq!(site.wait(stock(&site.db, site.sale.stock)), (10, 2, 0, 2));

    browser.go(&format!("http://{}/events/concert", site.address));
    browser.fill(&format!("#type-{}", site.sale.free), "4");
    browser.follow("button.main");
    assert!(
        browser.text().contains("may have 4 tickets for this event, has 2"),
        "{}",
        browser.text()
    );
    look(&mut browser, "shop-refused");
}
