"""The HTML page in Chromium: loading, sorting, layout, theme, printing."""

from itertools import pairwise

import pytest

LIGHT, DARK = "rgb(27, 28, 30)", "rgb(232, 230, 225)"


@pytest.fixture(scope="module")
def address(synthetic_page, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "runs.html"
    file.write_text(synthetic_page[0])
    return file.as_uri()


def column(tab, table, place):
    return tab.locator(f"table:has(#{table}) tbody tr > :nth-child({place})").all_inner_texts()


def heading(tab, table, name):
    return tab.locator(f"table:has(#{table}) thead th", has=tab.get_by_role("button", name=name, exact=True))


def test_all_images_load(opened):
    tab = opened()
    widths = tab.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(widths) > 25
    assert all(widths)


def test_click_sorts_and_second_click_reverses(opened):
    tab = opened()
    accuracies = [float(text.partition("%")[0]) for text in column(tab, "results", 5)]
    head = heading(tab, "results", "test accuracy")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert [float(text.partition("%")[0]) for text in column(tab, "results", 5)] == sorted(accuracies)
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert [float(text.partition("%")[0]) for text in column(tab, "results", 5)] == sorted(accuracies, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    models = column(tab, "results", 1)
    parameters = [int(text.replace(",", "")) for text in column(tab, "results", 8)]
    assert dict(zip(models, parameters, strict=True))["CNN"] > 1_600_000  # rows move as a whole


def test_keyboard_sorts_and_one_column_has_aria_sort(opened):
    tab = opened()
    heading(tab, "results", "parameters").get_by_role("button").click()
    button = heading(tab, "results", "experiment").get_by_role("button")
    button.focus()
    tab.keyboard.press("Enter")
    experiments = column(tab, "results", 2)
    assert experiments == sorted(experiments)
    tab.keyboard.press("Space")
    assert column(tab, "results", 2) == sorted(experiments, reverse=True)
    assert tab.locator("table:has(#results) th[aria-sort]").count() == 1


def test_all_columns_of_all_tables_sort(opened):
    tab = opened()
    for button in tab.locator("thead button").all():
        button.click()
        assert button.locator("xpath=..").get_attribute("aria-sort") == "ascending"


def test_first_tab_stop_skips_the_navigation(opened):
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to main content"
    assert tab.locator(".skip").bounding_box()["y"] >= 0


def test_landmarks_headings_and_alt_texts(opened):
    tab = opened()
    for role in ("banner", "main", "navigation", "contentinfo"):
        assert tab.get_by_role(role).count() == 1
    levels = [int(tag[1]) for tag in tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => h.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper <= before + 1 for before, deeper in pairwise(levels))
    assert tab.locator("img:not([alt]), img[alt='']").count() == 0
    assert tab.locator("table").count() == tab.locator("caption").count()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_fits_the_window(opened, width):
    tab = opened(viewport={"width": width, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    beyond = tab.evaluate(
        """[...document.querySelectorAll("body *")].filter((one) =>
             !one.closest(".scroll, .picture, .skip") && one.getBoundingClientRect().right > innerWidth + 1).length"""
    )
    assert beyond == 0


def test_scrolling_boxes_are_focusable(opened):
    tab = opened(viewport={"width": 360, "height": 740})
    boxes = tab.evaluate(
        """[...document.querySelectorAll(".scroll, .picture")]
             .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.tabIndex)"""
    )
    assert len(boxes) > 5
    assert set(boxes) == {0}


@pytest.mark.parametrize(("scheme", "ink"), [("light", LIGHT), ("dark", DARK)])
def test_text_follows_the_theme(opened, scheme, ink):
    tab = opened(color_scheme=scheme)
    assert tab.evaluate("getComputedStyle(document.querySelector('h1')).color") == ink


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast(opened, scheme):
    """WCAG 2, level AA, requires a contrast of 4.5 for text."""
    tab = opened(color_scheme=scheme)
    lowest = tab.evaluate(
        """(() => {
             const light = (color) => {
               const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                 .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
               return 0.2126 * r + 0.7152 * g + 0.0722 * b;
             };
             const behind = (one) => {
               for (let at = one; at; at = at.parentElement) {
                 const color = getComputedStyle(at).backgroundColor;
                 if (color !== "rgba(0, 0, 0, 0)") return color;
               }
             };
             const texts = [...document.querySelectorAll("body *")].filter((one) => !one.closest("svg, script") &&
               [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
             return Math.min(...texts.map((one) => {
               const [a, b] = [getComputedStyle(one).color, behind(one)].map(light).sort((x, y) => y - x);
               return (a + 0.05) / (b + 0.05);
             }));
           })()"""
    )
    assert lowest >= 4.5


def test_print_is_light_and_without_navigation(opened):
    tab = opened(color_scheme="dark")
    printed = tab.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_page_works_without_scripts_except_sorting(opened):
    tab = opened(java_script_enabled=False)
    assert tab.get_by_role("table").count() == 4
    assert tab.locator("thead button").count() == 0
    assert tab.locator("thead th", has_text="test accuracy").count() == 2
