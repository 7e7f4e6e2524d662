//! Pictures of what was measured: an SVG that fits a page on a light and on a dark ground. Apart
//! because what is drawn differs and this does not.

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
";
const DARK: &str = "  text { fill: #d7dde3 }\n";

/// An SVG that grows.
pub struct Picture {
    parts: Vec<String>,
}

impl Picture {
    /// An empty one of so many pixels. `light` has the rules of CSS beside those of all pictures;
    /// `dark`, those that hold instead on a dark ground.
    pub fn new((width, height): (f64, f64), title: &str, light: &str, dark: &str) -> Picture {
        let title = escaped(title);
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>\n{STYLE}{light}@media (prefers-color-scheme: dark) {{\n{DARK}{dark}}}\n\
             </style>"
        );
        Picture { parts: vec![head] }
    }

    /// Adds an element.
    pub fn add(&mut self, element: String) {
        self.parts.push(element);
    }

    /// Adds a text that begins there, or ends there if its class says so; `class` may be empty.
    pub fn text(&mut self, (x, y): (f64, f64), class: &str, what: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let what = escaped(what);
        self.add(format!("<text x=\"{x:.1}\" y=\"{y:.1}\"{class}>{what}</text>"));
    }

    /// The file.
    pub fn finish(mut self) -> String {
        self.parts.push("</svg>\n".to_owned());
        self.parts.join("\n")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_an_svg_with_two_grounds() {
        let mut picture =
            Picture::new((30.0, 20.0), "a < b", ".bar { fill: red }\n", "  .bar { fill: blue }\n");
        picture.text((1.0, 2.25), "head", "a & b");
        picture.text((1.0, 2.0), "", "c");
        let expected = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 30 20\" \
            width=\"30\" height=\"20\" role=\"img\">\n<title>a &lt; b</title>\n<style>\n\
            text { font: 12px system-ui, sans-serif; fill: #24292f }\n\
            .head { font-weight: 600 }\n.bar { fill: red }\n\
            @media (prefers-color-scheme: dark) {\n  text { fill: #d7dde3 }\n\
            \u{20} .bar { fill: blue }\n}\n</style>\n\
            <text x=\"1.0\" y=\"2.2\" class=\"head\">a &amp; b</text>\n\
            <text x=\"1.0\" y=\"2.0\">c</text>\n</svg>\n";
        assert_eq!(picture.finish(), expected);
    }
}
