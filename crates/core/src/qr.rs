//! QR codes (ISO/IEC 18004), as SVG documents and as text for a terminal.

use std::fmt::Write as _;

use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};

/// Draws a QR code as a complete SVG document, dark on light.
///
/// It has error correction M, the quiet zone of 4 modules that the standard asks for, and 5 pixels to the
/// module, and scales without loss. It does not hold the text other than as the drawing; where that is a
/// secret, so is the document.
pub fn svg(text: &str) -> Result<String, TooLong> {
    let modules = Modules::of(text)?;
    let size = modules.size();
    let pixels = size * 5;
    let path = path(&modules);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{pixels}\" height=\"{pixels}\" \
         viewBox=\"0 0 {size} {size}\" shape-rendering=\"crispEdges\">\
         <title>QR code for an authenticator app</title>\
         <path fill=\"#fff\" d=\"M0 0h{size}v{size}H0z\"/>\
         <path stroke=\"#000\" d=\"{path}\"/></svg>"
    ))
}

/// Draws a QR code with half-block characters, two modules to the character, for a terminal.
///
/// The light modules are drawn and the dark ones left out, quiet zone included, which is right on a dark
/// background. On a light one it shows inverted, which not every scanner reads.
pub fn terminal(text: &str) -> Result<String, TooLong> {
    let modules = Modules::of(text)?;
    let size = modules.size();
    let mut drawing = String::with_capacity(size * size * 2);
    for top in (0..size).step_by(2) {
        for x in 0..size {
            // The lower half of the last line lies outside of the drawing, where nothing is drawn.
            let is_light = |y| y < size && !modules.is_dark(x, y);
            drawing.push(match (is_light(top), is_light(top + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawing.push('\n');
    }
    Ok(drawing)
}

/// The text does not fit in the largest QR code, which holds 2,331 bytes and more of capitals and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub struct TooLong;

/// A QR code within its quiet zone.
struct Modules(QrCode);

impl Modules {
    const QUIET_ZONE: usize = 4;

    fn of(text: &str) -> Result<Self, TooLong> {
        QrCode::with_error_correction_level(text, EcLevel::M).map(Self).map_err(|error| {
            // The other errors speak of versions and character sets, which are not chosen here.
            debug_assert_eq!(error, QrError::DataTooLong);
            TooLong
        })
    }

    fn size(&self) -> usize {
        self.0.width() + 2 * Self::QUIET_ZONE
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = Self::QUIET_ZONE..Self::QUIET_ZONE + self.0.width();
        inside.contains(&x)
            && inside.contains(&y)
            && self.0[(x - Self::QUIET_ZONE, y - Self::QUIET_ZONE)] == Color::Dark
    }
}

/// A line of width 1 through the middle of each run of dark modules: half as long as outlines would be.
fn path(modules: &Modules) -> String {
    let mut path = String::new();
    for y in 0..modules.size() {
        let mut pen = None;
        let mut x = 0;
        while x < modules.size() {
            let run = (x..modules.size()).take_while(|x| modules.is_dark(*x, y)).count();
            if run == 0 {
                x += 1;
                continue;
            }
            // Writing to a string cannot fail.
            let _ = match pen {
                None => write!(path, "M{x} {y}.5h{run}"),
                Some(pen) => write!(path, "m{} 0h{run}", x - pen),
            };
            x += run;
            pen = Some(x);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rqrr::PreparedImage;

    use super::*;
    use crate::AccountName;
    use crate::otpauth::{self, Issuer};
    use crate::totp::{Algorithm, Digits, Parameters, Period, Secret};

    const URI: &str = "otpauth://totp/Acme:alice%40example.com\
        ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&algorithm=SHA1&digits=6&period=30";

    /// Rows of modules, dark ones true.
    type Matrix = Vec<Vec<bool>>;

    fn matrix(text: &str) -> Matrix {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
        let zone = 4;
        let mut rows = vec![vec![false; code.width() + 2 * zone]; code.width() + 2 * zone];
        for y in 0..code.width() {
            for x in 0..code.width() {
                rows[y + zone][x + zone] = code[(x, y)] == Color::Dark;
            }
        }
        rows
    }

    fn attribute<'a>(svg: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!(" {name}=\"");
        let pieces = svg.split(&start).skip(1);
        pieces.map(|piece| piece.split('"').next().unwrap()).collect()
    }

    /// Follows the path's commands (SVG 2 section 9.3) as a renderer would.
    fn drawn_by(svg: &str) -> Matrix {
        let size: usize = attribute(svg, "viewBox")[0].rsplit(' ').next().unwrap().parse().unwrap();
        let mut rows = vec![vec![false; size]; size];
        let path = attribute(svg, "d")[1];
        let (mut x, mut y) = (0, 0);
        let starts: Vec<usize> =
            path.match_indices(char::is_alphabetic).map(|(at, _)| at).collect();
        for (n, start) in starts.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(path.len());
            let numbers: Vec<&str> = path[start + 1..end].split(' ').collect();
            match (&path[*start..=*start], &numbers[..]) {
                ("M", [to_x, to_y]) => {
                    x = to_x.parse().unwrap();
                    y = to_y.strip_suffix(".5").unwrap().parse().unwrap();
                }
                ("m", [by_x, "0"]) => x += by_x.parse::<usize>().unwrap(),
                ("h", [by_x]) => {
                    let run: usize = by_x.parse().unwrap();
                    rows[y][x..x + run].fill(true);
                    x += run;
                }
                other => panic!("{other:?}"),
            }
        }
        rows
    }

    /// What a dark terminal shows of it.
    fn shown_by(drawing: &str) -> Matrix {
        let mut rows = Vec::new();
        for line in drawing.lines() {
            let half = |light: [char; 2]| line.chars().map(|c| !light.contains(&c)).collect();
            assert!(line.chars().all(|character| " ▀▄█".contains(character)));
            rows.push(half(['█', '▀']));
            rows.push(half(['█', '▄']));
        }
        rows
    }

    fn scanned(matrix: &Matrix) -> String {
        const SCALE: usize = 4;
        let (width, height) = (matrix[0].len() * SCALE, matrix.len() * SCALE);
        let mut image = PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            if matrix[y / SCALE][x / SCALE] { 0 } else { 255 }
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        let (meta, text) = grids[0].decode().unwrap();
        // 0 is M in the format information of ISO/IEC 18004.
        assert_eq!(meta.ecc_level, 0);
        text
    }

    #[test]
    fn a_scanner_reads_the_svg() {
        let drawn = drawn_by(&svg(URI).unwrap());
        assert_eq!(drawn, matrix(URI));
        assert_eq!(scanned(&drawn), URI);
    }

    #[test]
    fn a_scanner_reads_the_terminal() {
        let mut shown = shown_by(&terminal(URI).unwrap());
        assert_eq!(shown.pop(), Some(vec![true; shown[0].len()]), "the half line below it");
        assert_eq!(shown, matrix(URI));
        assert_eq!(scanned(&shown), URI);
    }

    #[test]
    fn the_svg_is_complete_and_compact() {
        let svg = svg(URI).unwrap();
        let size = matrix(URI).len();
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "));
        assert!(svg.ends_with("/></svg>") && svg.contains("<title>"));
        assert_eq!(attribute(&svg, "viewBox"), [format!("0 0 {size} {size}")]);
        assert_eq!(attribute(&svg, "width"), [(size * 5).to_string()]);
        assert_eq!(attribute(&svg, "height"), [(size * 5).to_string()]);
        assert!(svg.len() < 8000, "{}", svg.len());
        assert!(!svg.contains("GEZD"));
    }

    #[test]
    fn the_longest_uri_fits() {
        let issuer = Issuer::parse(&"é".repeat(64)).unwrap();
        let account_name = AccountName::parse(&format!("{}€", "é".repeat(126))).unwrap();
        let secret = Secret::from_bytes(&[0xa5; 128]).unwrap();
        let parameters = Parameters {
            algorithm: Algorithm::Sha512,
            digits: Digits::Eight,
            period: Period::new(Duration::from_secs(86_400)).unwrap(),
        };
        let uri = otpauth::build(&issuer, &account_name, &secret, &parameters);
        assert_eq!(uri.len(), 1809);
        assert_eq!(scanned(&drawn_by(&svg(&uri).unwrap())), *uri);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(svg(&"a".repeat(2331)).is_ok());
        assert_eq!(svg(&"a".repeat(2332)), Err(TooLong));
        assert_eq!(terminal(&"a".repeat(2332)), Err(TooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_drawing_is_the_same_matrix(text in "\\PC{1,200}") {
            let expected = matrix(&text);
            prop_assert_eq!(&drawn_by(&svg(&text).unwrap()), &expected);
            let shown = shown_by(&terminal(&text).unwrap());
            prop_assert_eq!(&shown[..expected.len()], &expected[..]);
        }
    }
}
