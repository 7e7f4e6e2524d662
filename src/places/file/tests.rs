//! Files of places: good ones in every format, and what is said of bad ones.
//!
//! It is apart because a file for each format is as long as the reading of it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn read(bytes: &[u8]) -> Result<(PlacesFile, Survey), String> {
    PlacesFile::read(bytes, Some("<b>us</b>")).map_err(|error| error.to_string())
}

/// Every place of a file, as `id|name|lat|lon|types|vicinity`, and what was wrong with others.
fn told(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let (file, survey) = read(bytes)?;
    assert_eq!(file.len(), survey.places);
    let spell = |&row: &u32| {
        let Place { id, name, position, types, vicinity, .. } = file.place(row);
        let Position { latitude, longitude } = position;
        format!("{id}|{name}|{latitude}|{longitude}|{types}|{vicinity}")
    };
    Ok((file.rows.iter().map(spell).collect(), survey.complaints().collect()))
}

fn check(text: &str, places: &[&str], complaints: &[&str]) {
    let expected = [places, complaints].map(|list| list.iter().map(|it| it.to_string()).collect());
    let [places, complaints] = expected;
    assert_eq!(told(text.as_bytes()), Ok((places, complaints)), "{text}");
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
    assert_eq!(told(b"name,lat,lon\n\xff,1,2\n"), Ok((vec![], vec![complaint])));

    let point = "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[0,0]}}";
    let line = point.replace("Point", "LineString");
    let features = format!("{point}\n{line}\n{{\n[]\n{{\"type\":\"Point\"}}\n");
    let expected = [
        "1 × no name: line 1",
        "3 × not a GeoJSON feature: line 3, 4, 5",
        "1 × not a point: line 2",
    ];
    check(&features, &[], &expected);
}

#[test]
fn what_cannot_be_used_at_all() {
    let refused = |bytes: &[u8], part: &str| {
        let sentence = told(bytes).unwrap_err();
        assert!(sentence.contains(part), "{sentence}\n  lacks {part}");
    };
    refused(b"", "its header (line 1) names no column `name`");
    refused(b"Name;lat;lon\n", "its header (line 1) names no column `name`");
    refused(b"name,lon\n", "names no column `lat`");
    refused(b"\x89PNG\r\n\x1a\n", "names no column `name`");
    let long = format!("{{\"type\":\"FeatureCollection\",\"x\":\"{}\"}}", "y".repeat(1 << 20));
    refused(long.as_bytes(), "at line 1 a row has more than 1048576 bytes");
    let open = format!("name,lat,lon\nA,\"1,2\n{}", "B,1,2\n".repeat(1 << 18));
    refused(open.as_bytes(), " a row has more than 1048576 bytes: a quote is not closed");
    let packed = packed(CSV);
    refused(&packed[..packed.len() - 9], "it cannot be read: ");
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_packed_file_is_known_by_its_content() {
    let places = vec![KAPPELI.to_owned(), BAR.to_owned()];
    assert_eq!(told(&packed(CSV)), Ok((places, vec![])));
    // Files that were packed one after the other are one.
    let (head, rest) = CSV.split_once('\n').unwrap();
    let both = [packed(&format!("{head}\n")), packed(rest)].concat();
    assert_eq!(told(&both).unwrap().0.len(), 2);
}

#[test]
fn a_file_answers_with_its_attribution() {
    let (file, survey) = read(CSV.as_bytes()).unwrap();
    let corners = survey.corners().map(|c| c.map(|at| (at.latitude, at.longitude)));
    assert_eq!(corners, Some([(60.1675, 24.9469), (60.168, 24.947)]));
    assert_eq!(survey.to_string(), "2 places");
    let ask = |latitude: f64, bound: u8| {
        let at = Position { latitude, longitude: 24.947 };
        let mut out = Vec::new();
        assert_eq!(file.answer(&Question { at, radius_km: 1.0, bound }, &mut out), Told::Answer);
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
