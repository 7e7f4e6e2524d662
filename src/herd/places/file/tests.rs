//! Files of places: good ones in every format, and what is said of bad ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::places::{Outcome, Source};
use herd_core::whatsat::Question;

fn read(bytes: &[u8]) -> Result<(PlacesFile, Survey), String> {
    PlacesFile::read(bytes, Some("<b>us</b>")).map_err(|error| error.to_string())
}

/// Every place of a file, as `id|name|lat|lon|types|vicinity`, and what was wrong with others.
fn read_all(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let (file, survey) = read(bytes)?;
    assert_eq!(file.len(), survey.places);
    let spell = |&row: &u32| {
        let Place { id, name, position, types, vicinity, .. } = file.text.place(row);
        let Position { latitude, longitude } = position;
        format!("{id}|{name}|{latitude}|{longitude}|{types}|{vicinity}")
    };
    Ok((file.rows.iter().map(spell).collect(), survey.complaints().collect()))
}

fn check(text: &str, places: &[&str], complaints: &[&str]) {
    let expected = [places, complaints].map(|list| list.iter().map(|it| it.to_string()).collect());
    let [places, complaints] = expected;
    assert_eq!(read_all(text.as_bytes()), Ok((places, complaints)), "{text}");
}

const CSV: &str = "id,name,lat,lon,type,vicinity\n\
    a1,Kappeli,60.1675,24.9469,restaurant;bar,\"Eteläesplanadi 1, Helsinki\"\n\
    ,\"The \"\"Bar\"\"\",60.168,24.947,bar,\n";

const KAPPELI: &str = "a1|Kappeli|60.1675|24.9469|restaurant;bar|Eteläesplanadi 1, Helsinki";
const BAR: &str = "line:3|The \"Bar\"|60.168|24.947|bar|";

#[test]
fn csv_of_ones_own() {
    check(CSV, &[KAPPELI, BAR], &[]);
    check(&CSV.replace('\n', "\r\n"), &[KAPPELI, BAR], &[]);
    check(CSV.trim_end(), &[KAPPELI, BAR], &[]);
    check(&format!("\u{feff}{CSV}"), &[KAPPELI, BAR], &[]);
    check("Lng,LAT, Name ,more\n1,2,A,x\n", &["line:2|A|2|1||"], &[]);
    check(
        "latitude,longitude,name\n-90,-180,A\n90, +180 , B \n",
        &["line:2|A|-90|-180||", "line:3|B|90|180||"],
        &[],
    );
    // A row begins where it begins, however many lines it has.
    check("name,lat,lon\n\"A\n\tB\",1,2\nC,3,4\n", &["line:2|A  B|1|2||", "line:4|C|3|4||"], &[]);
    check("name,lat,lon\n", &[], &[]);
}

#[test]
fn csv_of_ogr2ogr() {
    let header = "X,Y,osm_id,name,barrier,address,other_tags\n";
    let check = |row: &str, place: &str| check(&format!("{header}{row}\n"), &[place], &[]);
    check(
        "24.94,60.17,\"25\",Kiosk,,,\"\"\"shop\"\"=>\"\"kiosk\"\",\"\"addr:city\"\"=>\"\"Hki\"\"\"",
        "osm:25|Kiosk|60.17|24.94|kiosk;store|Hki",
    );
    check("24.94,60.17,26,Plain,,,", "osm:26|Plain|60.17|24.94||");
    let columns = "name,y,x,amenity,shop,addr:street\nA,1,2,cafe,bakery,Katu\n";
    super::tests::check(columns, &["line:2|A|1|2|cafe;bakery;store|Katu"], &[]);
}

#[test]
fn geojson_features() {
    let kiosk = r#"{ "type": "Feature", "properties": { "osm_id": "25", "name": "Kiosk é",
        "other_tags": "\"shop\"=>\"kiosk\",\"addr:city\"=>\"Hki\"" },
        "geometry": { "type": "Point", "coordinates": [ 24.94, 60.17 ] } }"#
        .replace('\n', "");
    let place = "osm:25|Kiosk é|60.17|24.94|kiosk;store|Hki";
    check(&format!("{kiosk}\n"), &[place], &[]);
    check(&format!("\u{1e}{kiosk}\n\u{1e}{kiosk}\n\n"), &[place, place], &[]);
    let own = r#"{"type":"Feature","id":7,"geometry":{"type":"Point","coordinates":[2,1,99.5]},
        "properties":{"name":"A","type":"bar","vicinity":"B","x":null}}"#
        .replace('\n', "");
    check(&own, &["7|A|1|2|bar|B"], &[]);
    check(&own.replace("\"x\":null", "\"id\":8"), &["8|A|1|2|bar|B"], &[]);
}

#[test]
fn what_is_wrong_has_its_line() {
    let header = "name,lat,lon\n";
    check(
        &format!("{header},1,2\nA,91,2\nB,1,181\nC,nan,2\nD,1\nE,,\nF,1,2\n,,\n"),
        &["line:8|F|1|2||"],
        &[
            "2 × no name: line 2, 9",
            "3 × no latitude between -90 and 90: line 3, 5, 7",
            "2 × no longitude between -180 and 180: line 4, 6",
        ],
    );
    let many = format!("{header}{}A,1,2", ",1,2\n".repeat(100));
    check(&many, &["line:102|A|1|2||"], &["100 × no name: line 2, 3, 4, 5, 6, …"]);
    let complaint = "1 × not UTF-8: line 2".to_owned();
    assert_eq!(read_all(b"name,lat,lon\n\xff,1,2\n"), Ok((vec![], vec![complaint])));

    let point = "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[0,0]}}";
    let line = point.replace("Point", "LineString");
    let features = format!("{point}\n{line}\n{{\n{{\"type\":\"Point\"}}\n[]\n7\n");
    let expected = [
        "1 × no name: line 1",
        "1 × broken JSON: line 3",
        "2 × not a GeoJSON feature: line 4, 6",
        "1 × not a point: line 2",
    ];
    check(&features, &[], &expected);
}

#[test]
fn what_cannot_be_used_at_all() {
    let refused = |bytes: &[u8], part: &str| {
        let message = read_all(bytes).unwrap_err();
        assert!(message.contains(part), "{message}\n  lacks {part}");
    };
    refused(b"", "it is empty");
    refused(b" \n\n", "it is empty");
    refused(b"\n\nName:lat:lon\n", "its header (line 3) names no column `name`");
    refused(b"name,lon\n", "names no column `lat`");
    refused(b"\x89PNG\r\n\x1a\n", "names no column `name`");
    refused(&[0; 4096], "names no column `name`");
    refused(b"name,\"lat,lon\nA,1,2\n", "its header (line 1) cannot be read: a quote is not");
    refused("x".repeat(3 << 20).as_bytes(), "(line 1) cannot be read: a line of more than 1 MiB");
    let marked: Vec<u8> = "\u{feff}name".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&marked, &marked[2..], &marked[3..]] {
        refused(bytes, "it is UTF-16: save it as UTF-8");
    }
    refused(b"PK\x03\x04\x14\0", "a zip archive");
    refused(b"<kml>", "convert it with ogr2ogr");
    refused(&packed_bytes(&packed(CSV)), "packed with gzip twice");
    let packed = packed(CSV);
    refused(&packed[..packed.len() - 9], "its packed data end too early: fetch it again");
    refused(&packed[..3], "its packed data end too early");
    refused(&[&packed[..], b"name"].concat(), "what follows its packed data is not gzip");
    let mut damaged = packed.clone();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&damaged, "its packed data are damaged");
}

fn packed_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(text: &str) -> Vec<u8> {
    packed_bytes(text.as_bytes())
}

#[test]
fn a_packed_file_is_known_by_its_content() {
    let places = vec![KAPPELI.to_owned(), BAR.to_owned()];
    assert_eq!(read_all(&packed(CSV)), Ok((places, vec![])));
    // Files that were packed one after the other are one.
    let (head, rest) = CSV.split_once('\n').unwrap();
    let both = [packed(&format!("{head}\n")), packed(rest)].concat();
    assert_eq!(read_all(&both).unwrap().0.len(), 2);
    // Zeros may follow, between two as well.
    let padded = [packed(&format!("{head}\n")), vec![0; 9], packed(rest), vec![0; 100_000]];
    assert_eq!(read_all(&padded.concat()).unwrap().0.len(), 2);
}

/// Goal: any kind of file at the path is answered at once. Method: a pipe without a writer.
#[test]
fn only_a_regular_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &Path, part: &str| {
        let message = PlacesFile::load(path, None).err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    };
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    check(&pipe, "no regular file but a pipe");
    check(Path::new("/dev/zero"), "no regular file");
    check(dir.path(), "it is a directory");
    check(&dir.path().join("none"), "it cannot be read: ");
}

#[test]
fn a_file_answers_with_its_attribution() {
    let (file, survey) = read(CSV.as_bytes()).unwrap();
    let corners = survey.corners().map(|c| c.map(|at| (at.latitude, at.longitude)));
    assert_eq!(corners, Some([(60.1675, 24.9469), (60.168, 24.947)]));
    assert_eq!(survey.to_string(), "2 places");
    assert_eq!(
        read(b"name,lat,lon\nA,1,2\n,1,2\n").unwrap().1.to_string(),
        concat!("1 place, 1 row skipped ", "(1 × no name: line 3)")
    );
    let ask = |latitude: f64, bound: u8| {
        let at = Position { latitude, longitude: 24.947 };
        let mut out = Vec::new();
        assert_eq!(
            file.answer(&Question { at, radius_km: 1.0, bound }, &mut out),
            Outcome::Answered
        );
        serde_json::from_slice::<serde_json::Value>(&out).unwrap()
    };
    let answer = ask(60.168, 20);
    assert_eq!(answer["html_attributions"], serde_json::json!(["<b>us</b>"]));
    assert_eq!(answer["results"][0]["name"], "The \"Bar\"");
    assert_eq!(answer["results"][1]["place_id"], "a1");
    assert_eq!(answer["results"][1]["types"], serde_json::json!(["restaurant", "bar"]));
    assert_eq!(ask(61.0, 20)["status"], "ZERO_RESULTS");
    let none = ask(60.168, 0);
    assert_eq!((&none["status"], &none["results"]), (&"OK".into(), &serde_json::json!([])));
}

/// A feature with a name, and more properties behind it.
fn feature(name: &str, more: &str) -> String {
    format!(
        "{{\"type\":\"Feature\",\"properties\":{{\"name\":{name}{more}}},\
         \"geometry\":{{\"type\":\"Point\",\"coordinates\":[24.94,60.17]}}}}"
    )
}

#[test]
fn geojson_of_any_layout() {
    let [a, b] = ["\"A\"", "\"B\""].map(|name| feature(name, ""));
    let place = |id: &str, name: &str| format!("{id}|{name}|60.17|24.94||");
    let check = |text: &str, ids: [&str; 2]| {
        let expected = vec![place(ids[0], "A"), place(ids[1], "B")];
        for text in [text.as_bytes(), &packed(text)] {
            assert_eq!(read_all(text), Ok((expected.clone(), vec![])), "{}", text.escape_ascii());
        }
    };
    check(&format!("\n\u{feff} {a}\n{b}"), ["line:2", "line:3"]);
    check(&format!("{a}{b}\n"), ["line:1", "line:1.2"]);
    check(&format!("{a}\u{feff}{b}\n"), ["line:1", "line:1.2"]);
    check(&format!("{a},\r\n{b},\r\n"), ["line:1", "line:2"]);
    let lines = a.replace(',', ",\n");
    check(&format!("\u{1e}{lines}\n\u{1e}{b}\n"), ["line:1", "line:6"]);
    check(&format!("[{a},{b}]"), ["line:1", "line:1.2"]);
    let collection = format!(
        "{{\n\"type\": \"FeatureCollection\",\n\"name\": \"points\",\n\"crs\": {{ \"type\": \
         \"name\" }},\n\"features\": [\n{a},\n{b}\n]\n}}\n"
    );
    check(&collection, ["line:6", "line:7"]);
    check(&collection.replace('\n', ""), ["line:1", "line:1.2"]);
    check(&collection.replace("\n]", ",\n]"), ["line:6", "line:7"]);
    let pretty: serde_json::Value = serde_json::from_str(&collection).unwrap();
    // Its members are in the order of the alphabet: features come first and `type` last.
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    check(&pretty, ["line:6", "line:19"]);
    let halves = [&a, &b].map(|one| format!("{{\"features\":[{one}]}}\n"));
    check(&halves.concat(), ["line:1", "line:2"]);
}

#[test]
fn an_empty_collection_is_no_mistake() {
    check("{\"type\":\"FeatureCollection\",\"features\":[]}", &[], &[]);
    check("[]", &[], &[]);
}

/// Goal: what is not read can be anything, and what is read is taken in every spelling that has one
/// meaning.
#[test]
fn odd_features() {
    let one = |text: &str, place: &str| check(text, &[place], &[]);
    let plain = "line:1|A|60.17|24.94||";
    let deep = format!(",\"x\":{}{}", "[".repeat(5000), "]".repeat(5000));
    for more in [",\"x\":NaN", ",\"x\":-Infinity", ",\"x\":\"\\ud83d\"", ",\"x\":\"\\q\"", &deep] {
        one(&feature("\"A\"", more), plain);
    }
    one(&feature("42", ""), "line:1|42|60.17|24.94||");
    one(&feature("\"\\ud83d\"", ""), "line:1|\u{fffd}|60.17|24.94||");
    one(&feature("\"A\\n\\n\\u0000B\"", ""), "line:1|A   B|60.17|24.94||");
    let big = "\"A\",\"osm_id\":18446744073709551617";
    one(&feature(big, ""), "osm:18446744073709551617|A|60.17|24.94||");
    one(&feature("null,\"NAME\":\"A\",\"Amenity\":\"bar\"", ""), "line:1|A|60.17|24.94|bar|");
    let hstore = ",\"other_tags\":\"\\\"note\\\"=>NULL,\\\"amenity\\\"=>\\\"cafe\\\"\"";
    one(&feature("\"A\"", hstore), "line:1|A|60.17|24.94|cafe|");
    let at = |geometry: &str| {
        let point = "{\"type\":\"Point\",\"coordinates\":[24.94,60.17]}";
        feature("\"A\"", "").replace(point, geometry)
    };
    let point =
        |coordinates: &str| at(&format!("{{\"coordinates\":{coordinates},\"type\":\"Point\"}}"));
    one(&point("[2494e-2, 6.017e1, 12.5, 7]"), "line:1|A|60.17|24.94||");
    one(&point("[\"24.94\",\"60.17\"]"), plain);
    one(&at("{\"type\":\"MultiPoint\",\"coordinates\":[[24.94,60.17]]}"), plain);
    let not_a_point = |text: &str| check(text, &[], &["1 × not a point: line 1"]);
    for geometry in [
        "null",
        "{}",
        "[24.94,60.17]",
        "{\"type\":\"MultiPoint\",\"coordinates\":[[24.94,60.17],[1,2]]}",
        "{\"type\":\"LineString\",\"coordinates\":[[24.94,60.17]]}",
        r#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}"#,
    ] {
        not_a_point(&at(geometry));
    }
    for coordinates in ["[]", "[1]", "[[1,2]]", "null", "[[[]]]", "{\"x\":1}"] {
        not_a_point(&point(coordinates));
    }
    check(&point("[1,NaN]"), &[], &["1 × no latitude between -90 and 90: line 1"]);
    check(&point("[1,123]"), &[], &["1 × no latitude between -90 and 90: line 1"]);
    check(&point("[null,1]"), &[], &["1 × no longitude between -180 and 180: line 1"]);
    check(
        "{\"version\":0.6,\"elements\":[{\"type\":\"node\"}]}",
        &[],
        &["1 × an answer of Overpass, which osmtogeojson makes GeoJSON of: line 1"],
    );
    check(
        "{\"type\":\"Topology\"}",
        &[],
        &["1 × TopoJSON, which is to be converted to GeoJSON: line 1"],
    );
}

/// Goal: what is broken costs only itself, and is reported with its line.
#[test]
fn broken_geojson_is_told_and_the_rest_is_read() {
    let [a, b, c] = ["\"A\"", "\"B\"", "\"C\""].map(|name| feature(name, ""));
    let named = |line: u64, name: &str| format!("line:{line}|{name}|60.17|24.94||");
    let check = |text: &str, places: &[String], lines: &str| {
        let complaint = format!("{} × broken JSON: line {lines}", lines.split(", ").count());
        assert_eq!(read_all(text.as_bytes()), Ok((places.to_vec(), vec![complaint])), "{text}");
    };
    for cut in [1, 9, 19, 40, b.len() - 30, b.len() - 1] {
        let places = [named(1, "A"), named(3, "C")];
        check(&format!("{a}\n{}\n{c}\n", &b[..cut]), &places, "2");
        check(&format!("\u{1e}{a}\n\u{1e}{}\n\u{1e}{c}\n", &b[..cut]), &places, "2");
        let collection = format!("{{\"features\":[\n{a},\n{},\n{c}\n]}}\n", &b[..cut]);
        check(&collection, &[named(2, "A"), named(4, "C")], "3");
        // A copy that was cut off.
        check(&format!("{{\"features\":[\n{a},\n{}", &b[..cut]), &[named(2, "A")], "3");
    }
    let collection = format!("{{\"type\":\"FeatureCollection\",\"features\":[{a},{b},{c}]}}");
    let pretty: serde_json::Value = serde_json::from_str(&collection).unwrap();
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    let broken = pretty.replace("\"B\"", "\"B");
    check(&broken, &[named(3, "A"), named(29, "C")], "16");
}

/// Goal: a bound on memory in any layout. Method: a collection larger than a row may be, with an
/// outline that is larger by itself.
#[test]
fn a_large_collection_is_read() {
    let (point, outline) = (feature("\"A\"", ""), "[1,2],".repeat(300_000));
    let outline = format!("[{}]", outline.trim_end_matches(','));
    let line = point.replace("Point", "LineString").replace("[24.94,60.17]", &outline);
    let many = format!("{point},").repeat(10_000);
    let (file, survey) =
        read(format!("{{\"features\":[{many}{line},{point}]}}").as_bytes()).unwrap();
    assert_eq!((file.len(), survey.skipped()), (10_001, 1));
    assert_eq!(survey.complaints().collect::<Vec<_>>(), ["1 × not a point: line 1"]);
}

#[test]
fn csv_of_other_programs() {
    let places = ["line:2|A|60.17|24.94||", "line:3|B|-1.5|2||"];
    let text = "name,lat,lon\nA,60.17,24.94\nB,-1.5,2\n";
    let one = |text: &str| check(text, &places, &[]);
    one(&text.replace('\n', "\r"));
    one(&text.replace('\n', "\r\n"));
    for separator in [";", "\t", "|"] {
        one(&text.replace(',', separator));
    }
    one(&text.replace(',', ";").replace('.', ","));
    one(&text.replace(',', ", "));
    one("name, \"lat\",\t\"lon\"\n \"A\" , \"60.17\", \"24.94\"\n\"B\",-1.5,2 \n");
    one("lon;lat;name\r\n24,94;60,17;A\r\n2;-1,5;B");
    let shifted = ["line:3|A|60.17|24.94||", "line:4|B|-1.5|2||"];
    check(&format!("sep=,\r\n{text}"), &shifted, &[]);
    check(&format!("SEP=~\n{}", text.replace(',', "~")), &shifted, &[]);
    check(&format!("\u{feff}\n{text}"), &shifted, &[]);
    // The last column is empty, and its row ends with both.
    check("name,lat,lon,id\r\nA,1e1,2,\r\n", &["line:2|A|1e1|2||"].map(|_| "line:2|A|10|2||"), &[]);
    check("name,lat,lon,name\nA,1,2,B\n", &["line:2|A|1|2||"], &[]);
    let joined = format!("{text}\u{feff}C,3,4\n");
    check(&joined, &[places[0], places[1], "line:4|C|3|4||"], &[]);
}

#[test]
fn what_means_nothing_is_no_name() {
    let header = "name,lat,lon,id,type\n";
    let nothing = ["\\N", "NULL", "nan", " NaN ", "\"\u{1}\""];
    let rows = nothing.map(|name| format!("{name},1,2,,\n")).concat();
    check(&format!("{header}{rows}"), &[], &["5 × no name: line 2, 3, 4, 5, 6"]);
    check(&format!("{header}Nan,1,2,NULL,\\N\n"), &["line:2|Nan|1|2||"], &[]);
    check(&format!("{header}A,NULL,2,,\n"), &[], &["1 × no latitude between -90 and 90: line 2"]);
    check(&format!("{header}A,0x1p3,2,,\n"), &[], &["1 × no latitude between -90 and 90: line 2"]);
}

#[test]
fn an_open_quote_is_told() {
    let header = "name,lat,lon\n";
    let not_closed = |line: u64| format!("1 × a quote is not closed: line {line}");
    check(
        &format!("{header}A,1,2\nB,1,\"2\nC,1,2\n"),
        &["line:2|A|1|2||", "line:4|C|1|2||"],
        &[&not_closed(3)],
    );
    check(
        &format!("{header}\"A,1,2\nB,1,2\n\"C\",1,2\n"),
        &["line:3|B|1|2||", "line:4|C|1|2||"],
        &[&not_closed(2)],
    );
}

/// Goal: twenty of the longest places that are taken fit into an answer.
#[test]
fn a_place_has_a_bound() {
    let row =
        |name: usize, types: usize| format!("{},1,2,{}\n", "\"\"".repeat(name), "a;".repeat(types));
    let spelled = |name: usize, types: usize| {
        let row = row(name, types);
        let (name, rest) = row.split_once(',').unwrap();
        format!("name,lat,lon,type\n\"{name}\",{rest}")
    };
    let is_taken = |text: &str| {
        let (file, survey) = read(text.as_bytes()).unwrap();
        let complaints: Vec<_> = survey.complaints().collect();
        let expected: &[&str] = match file.len() {
            1 => &[],
            _ => &["1 × longer than 4 KiB in an answer: line 2"],
        };
        assert_eq!(complaints, expected);
        file.len() == 1
    };
    let mut longest = 0;
    for (name, types) in [(1, 0), (1900, 0), (1, 200), (900, 100)] {
        let text = spelled(name, types);
        assert!(is_taken(&text), "{name} {types}");
        let (file, _) = read(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let at = Position { latitude: 1.0, longitude: 2.0 };
        file.answer(&Question { at, radius_km: 1.0, bound: 20 }, &mut answer);
        longest = longest.max(answer.len());
    }
    assert!(longest > PLACE_BYTES_MAX * 9 / 10);
    for (name, types) in [(2100, 0), (1, 230), (400_000, 0), (900, 120)] {
        assert!(!is_taken(&spelled(name, types)), "{name} {types}");
    }
}
