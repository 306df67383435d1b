//! Places: country and region by ISO 3166-1 and the UN's M49 regions.

use super::{
    standard::{Parts, Shape, Standard, is_known, path},
    words::{UNKNOWN, fold},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// A place in standard form. What is not known is "Unknown".
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Location {
    /// Its identifier as given, with single spaces.
    location_id: String,
    /// Region of the UN (M49): Africa, Americas, Antarctica, Asia, Europe or Oceania; that of the country, where it is known.
    l1_region: String,
    /// The country's English short name by ISO 3166-1.
    l2_country: String,
    /// State or province, Title Case.
    l3_state: String,
    /// City, Title Case.
    l4_city: String,
    /// The known levels, joined by " → ".
    hierarchy_path: String,
    /// The country's alpha-2 code by ISO 3166-1.
    country_code: String,
    /// The country's alpha-3 code by ISO 3166-1.
    country_code_alpha3: String,
}

/// A country by ISO 3166-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Country {
    pub(super) alpha2: &'static str,
    pub(super) alpha3: &'static str,
    pub(super) name: &'static str,
    pub(super) region: &'static str,
}

/// All 249, by alpha-2 code.
pub(super) static COUNTRIES: LazyLock<Vec<Country>> = LazyLock::new(|| {
    let lines = include_str!("countries.tsv").lines();
    let columns = lines.map(|line| line.split('\t'));
    columns
        .filter_map(|mut columns| {
            Some(Country {
                alpha2: columns.next()?,
                alpha3: columns.next()?,
                name: columns.next()?,
                region: columns.next()?,
            })
        })
        .collect()
});

static BY_NAME: LazyLock<BTreeMap<String, &'static Country>> = LazyLock::new(|| {
    let mut names = BTreeMap::new();
    for country in COUNTRIES.iter() {
        for name in [country.alpha2, country.alpha3, country.name] {
            names.insert(find_by(name), country);
        }
    }
    for (alpha2, others) in OTHER_NAMES {
        if let Some(country) = COUNTRIES.iter().find(|country| country.alpha2 == *alpha2) {
            for name in others.split('|') {
                names.insert(find_by(name), country);
            }
        }
    }
    names
});

/// Names in common use beside the short name of the standard.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("BN", "Brunei"),
    ("BO", "Bolivia"),
    ("CD", "Democratic Republic of the Congo|DR Congo|DRC"),
    ("CG", "Republic of the Congo|Congo-Brazzaville"),
    ("CI", "Ivory Coast"),
    ("CV", "Cape Verde"),
    ("CZ", "Czech Republic"),
    ("FK", "Falkland Islands"),
    ("FM", "Micronesia"),
    (
        "GB",
        "UK|United Kingdom|Great Britain|Britain|England|Scotland|Wales|Northern Ireland",
    ),
    ("HK", "Hong Kong SAR"),
    ("IR", "Iran"),
    ("KP", "North Korea|DPRK"),
    ("KR", "South Korea|Republic of Korea"),
    ("LA", "Laos"),
    ("MD", "Moldova"),
    ("MK", "Macedonia"),
    ("MM", "Burma"),
    ("MO", "Macau"),
    ("NL", "Netherlands|Holland"),
    ("PS", "Palestine"),
    ("RU", "Russia"),
    ("SY", "Syria"),
    ("SZ", "Swaziland"),
    ("TL", "East Timor"),
    ("TR", "Turkey"),
    ("TW", "Taiwan"),
    ("TZ", "Tanzania"),
    ("AE", "UAE|Emirates"),
    ("US", "United States|U.S.A.|U.S.|America"),
    ("VA", "Vatican|Vatican City"),
    ("VE", "Venezuela"),
    ("VG", "British Virgin Islands"),
    ("VI", "US Virgin Islands"),
    ("VN", "Vietnam"),
];

/// The country of this name or code, in any spelling.
pub(super) fn country(name: &str) -> Option<&'static Country> {
    BY_NAME.get(&find_by(name)).copied()
}

/// Folded, without dots in abbreviations and without the article.
fn find_by(name: &str) -> String {
    let folded = fold(&name.replace('.', ""));
    folded.strip_prefix("the ").unwrap_or(&folded).to_owned()
}

fn region(name: &str) -> Option<&'static str> {
    Some(match find_by(name).as_str() {
        "africa" => "Africa",
        "americas" | "america" | "north america" | "south america" | "central america"
        | "latin america" | "caribbean" => "Americas",
        "antarctica" => "Antarctica",
        "asia" | "middle east" | "southeast asia" => "Asia",
        "europe" | "eu" | "european union" => "Europe",
        "oceania" | "australasia" => "Oceania",
        _ => return None,
    })
}

impl Standard for Location {
    const SHAPE: Shape = Shape {
        kind: "location",
        id: "location_id",
        levels: ["l1_region", "l2_country", "l3_state", "l4_city"],
    };

    fn of(parts: &Parts) -> Self {
        let [given_region, given_country, state, city] = parts.levels.clone();
        let country = country(&given_country);
        let name = country.map_or(UNKNOWN, |country| country.name);
        let region = country
            .map(|country| country.region)
            .or_else(|| region(&given_region))
            .unwrap_or(UNKNOWN);
        Self {
            location_id: parts.id.clone(),
            hierarchy_path: path([region, name, &state, &city]),
            l1_region: region.to_owned(),
            l2_country: name.to_owned(),
            l3_state: state,
            l4_city: city,
            country_code: country.map_or(UNKNOWN, |country| country.alpha2).to_owned(),
            country_code_alpha3: country.map_or(UNKNOWN, |country| country.alpha3).to_owned(),
        }
    }

    fn is_recognised(&self) -> bool {
        is_known(&self.l2_country)
    }

    fn weighed(&self) -> Vec<(&'static str, &str, f64)> {
        vec![
            ("l1_region", &self.l1_region, 1.0),
            ("l2_country", &self.l2_country, 1.0),
            ("country_code", &self.country_code, 1.0),
            ("l3_state", &self.l3_state, 0.5),
            ("l4_city", &self.l4_city, 0.5),
            ("hierarchy_path", &self.hierarchy_path, 0.5),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_standard() {
        // ISO 3166-1 has 249 officially assigned codes.
        assert_eq!(COUNTRIES.len(), 249);
        let is_code = |code: &str, length| {
            code.len() == length && code.bytes().all(|b| b.is_ascii_uppercase())
        };
        for country in COUNTRIES.iter() {
            assert!(
                is_code(country.alpha2, 2) && is_code(country.alpha3, 3),
                "{country:?}"
            );
            assert_eq!(region(country.region), Some(country.region), "{country:?}");
            for name in [country.alpha2, country.alpha3, country.name] {
                assert_eq!(
                    super::country(name),
                    Some(country),
                    "{name} is another's too"
                );
            }
        }
        for (code, names) in OTHER_NAMES {
            for name in names.split('|') {
                assert_eq!(
                    country(name).map(|country| country.alpha2),
                    Some(*code),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn countries_are_found_in_any_spelling() {
        let check = |name: &str, alpha3: Option<&str>| {
            assert_eq!(
                country(name).map(|country| country.alpha3),
                alpha3,
                "{name}"
            );
        };
        check("germany", Some("DEU"));
        check("Cote d'Ivoire", Some("CIV"));
        check("TÜRKIYE", Some("TUR"));
        check("the United States of America", Some("USA"));
        check("u.s.a.", Some("USA"));
        check("na", Some("NAM"));
        check("Korea", None);
        check("Atlantis", None);
    }
}
