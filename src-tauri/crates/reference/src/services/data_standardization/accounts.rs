//! Accounts of a ledger: type, code, and how accounting and banking rules class them.
//!
//! Names are all there is to go by, so these are conventions to sort by, not accounting advice. Classes are named after IFRS 9 (4.1, 4.2) and
//! after the exposure classes of the Basel framework (CRE20) with its tiers of capital (CAP10); which words point at which is ours.

use super::{
    standard::{Parts, Shape, Standard, is_known},
    words::{UNKNOWN, fold, look_up},
};
use schemars::JsonSchema;
use serde::Serialize;

/// An account in standard form. What is not known is "Unknown".
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Account {
    /// Its identifier as given, with single spaces.
    account_id: String,
    /// First level, Title Case.
    l1_category: String,
    /// Second level.
    l2_subcategory: String,
    /// Third level.
    l3_classification: String,
    /// Fourth level.
    l4_specific: String,
    /// The known levels, joined by " → ".
    hierarchy_path: String,
    /// Digit of its type (1 asset to 5 expense), then CRC-32 of the path modulo 1000 in three digits.
    account_code: String,
    /// Asset, Liability, Equity, Revenue or Expense.
    account_type: String,
    /// Group within its type, as Current or Operating.
    account_subtype: String,
    /// The second level, or the first where there is no second.
    account_category: String,
    /// Measurement class by IFRS 9: Amortised Cost, FVOCI, FVTPL, or Not Applicable.
    ifrs9_classification: String,
    /// Exposure class or capital tier by Basel III, or Not Applicable.
    basel_classification: String,
    /// What follows for capital: Risk Weighted, Deducted From Own Funds, Own Funds, Funding, or Profit And Loss.
    regulatory_treatment: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Asset,
    Liability,
    Equity,
    Revenue,
    Expense,
}

type Table<T> = &'static [(&'static str, T)];

const TYPES: Table<Type> = &[
    (
        "asset|assets|cash|bank balances|receivable|receivables|accounts receivable|loans receivable|notes receivable|interest receivable|\
         loans and advances|inventory|inventories|prepaid|prepayments|prepaid expense|prepaid expenses|accrued income|property|equipment|\
         property plant and equipment|fixed assets|goodwill|intangible|intangibles|investment|investments|securities|deferred tax asset|\
         deferred tax assets|capital work in progress|derivative assets|equity investments|equity securities",
        Type::Asset,
    ),
    (
        "liability|liabilities|payable|payables|accounts payable|notes payable|bonds payable|loans payable|interest payable|tax payable|\
         income tax payable|customer deposits|deposits from customers|borrowing|borrowings|debt|subordinated debt|bonds issued|deferred revenue|\
         deferred income|unearned revenue|unearned income|accrued expense|accrued expenses|accrued liabilities|provision|provisions|overdraft|\
         overdrafts|deferred tax liability|deferred tax liabilities|lease liabilities|dividends payable|salaries payable|wages payable",
        Type::Liability,
    ),
    (
        "equity|shareholders equity|owners equity|capital|share capital|capital stock|common stock|preferred stock|share premium|\
         additional paid in capital|retained earnings|reserve|reserves|treasury stock|treasury shares|other comprehensive income",
        Type::Equity,
    ),
    (
        "revenue|revenues|income|sales|turnover|interest income|fee income|fees|commission income|dividend income|rental income|gain|gains",
        Type::Revenue,
    ),
    (
        "expense|expenses|cost|costs|cost of sales|cost of revenue|cost of goods sold|interest expense|tax expense|income tax expense|\
         depreciation|amortisation|amortization|depreciation expense|impairment|salaries|wages|payroll|rent|utilities|marketing|loss|losses|\
         loan loss provision|provision expense",
        Type::Expense,
    ),
];

const ASSET_SUBTYPES: Table<&str> = &[
    (
        "non current|noncurrent|long term|fixed|property|plant|equipment",
        "Non-Current",
    ),
    ("intangible|intangibles|goodwill", "Intangible"),
    (
        "investment|investments|securities|loans|advances|derivative|derivatives",
        "Financial",
    ),
    (
        "current|short term|cash|receivable|receivables|inventory|inventories|prepaid|prepayments",
        "Current",
    ),
];
const LIABILITY_SUBTYPES: Table<&str> = &[
    (
        "non current|noncurrent|long term|bonds|subordinated|lease liabilities",
        "Non-Current",
    ),
    (
        "current|short term|payable|payables|deposits|overdraft|overdrafts|accrued",
        "Current",
    ),
    ("provision|provisions|deferred", "Provisions And Deferrals"),
];
const EQUITY_SUBTYPES: Table<&str> = &[
    ("capital|stock|share premium|paid in", "Contributed Capital"),
    ("retained earnings", "Retained Earnings"),
    ("reserve|reserves|comprehensive income", "Reserves"),
];
const REVENUE_SUBTYPES: Table<&str> = &[
    ("interest", "Interest"),
    ("fee|fees|commission|commissions", "Fees"),
    (
        "sales|operating|turnover|product|service|services",
        "Operating",
    ),
    (
        "gain|gains|dividend|dividends|rental|other|non operating",
        "Other",
    ),
];
const EXPENSE_SUBTYPES: Table<&str> = &[
    ("interest", "Interest"),
    ("tax|taxes", "Tax"),
    (
        "cost of sales|cost of revenue|cost of goods sold",
        "Cost Of Sales",
    ),
    (
        "depreciation|amortisation|amortization|impairment|loss|losses|provision",
        "Depreciation And Impairment",
    ),
    (
        "operating|administrative|salaries|wages|payroll|rent|utilities|marketing|personnel|staff",
        "Operating",
    ),
];

const AMORTISED: &str = "Amortised Cost";
const FVOCI: &str = "FVOCI";
const FVTPL: &str = "FVTPL";
const NOT_APPLICABLE: &str = "Not Applicable";

const ASSET_IFRS9: Table<&str> = &[
    (
        "cash|bank balances|receivable|receivables|loan|loans|advances|deposits|mortgage|mortgages",
        AMORTISED,
    ),
    (
        "fvoci|available for sale|bond|bonds|government securities|debt securities|treasury bills",
        FVOCI,
    ),
    (
        "fvtpl|trading|held for trading|trading securities|derivative|derivatives|equity investments|equity securities|shares|funds",
        FVTPL,
    ),
    (
        "property|plant|equipment|inventory|inventories|goodwill|intangible|intangibles|prepaid|prepayments|deferred tax|fixed assets",
        NOT_APPLICABLE,
    ),
];
const LIABILITY_IFRS9: Table<&str> = &[
    (
        "payable|payables|deposits|borrowing|borrowings|debt|bond|bonds|loan|loans|notes|overdraft|overdrafts|subordinated",
        AMORTISED,
    ),
    ("derivative|derivatives|trading|held for trading", FVTPL),
    (
        "provision|provisions|deferred|unearned|tax payable|income tax payable|accrued|lease liabilities",
        NOT_APPLICABLE,
    ),
];

const DEDUCTION: &str = "Regulatory Deduction";
const TIER_2: &str = "Tier 2";

const ASSET_BASEL: Table<&str> = &[
    ("cash", "Cash"),
    (
        "sovereign|government|government securities|government bonds|treasury|treasury bills|central bank",
        "Sovereign",
    ),
    ("bank|banks|interbank|bank balances", "Bank"),
    (
        "mortgage|mortgages|residential|real estate loans",
        "Real Estate",
    ),
    (
        "retail|consumer|consumer loans|credit card|credit cards",
        "Retail",
    ),
    (
        "corporate|corporate loans|commercial|trade|receivable|receivables|accounts receivable",
        "Corporate",
    ),
    ("equity investments|equity securities|shares", "Equity"),
    (
        "goodwill|intangible|intangibles|intangible assets|deferred tax",
        DEDUCTION,
    ),
    (
        "property|plant|equipment|property plant and equipment|inventory|inventories|prepaid|prepayments|fixed assets",
        "Other Assets",
    ),
];
const CAPITAL_BASEL: Table<&str> = &[
    (
        "preferred|preferred stock|perpetual|additional tier 1",
        "Additional Tier 1",
    ),
    ("subordinated|subordinated debt|tier 2", TIER_2),
];

impl Standard for Account {
    const SHAPE: Shape = Shape {
        kind: "account",
        id: "account_id",
        levels: [
            "l1_category",
            "l2_subcategory",
            "l3_classification",
            "l4_specific",
        ],
    };

    fn of(parts: &Parts) -> Self {
        let hierarchy_path = parts.path();
        let levels = parts.levels.each_ref().map(|level| fold(level));
        let kind = levels.iter().find_map(|level| look_up(TYPES, level));
        // The most specific level speaks first: "Current Assets" says less than "Government Bonds" below it.
        let say = |table: Table<&'static str>| {
            levels.iter().rev().find_map(|level| look_up(table, level))
        };
        let basel = kind.and_then(|kind| match kind {
            Type::Asset => say(ASSET_BASEL),
            Type::Liability => Some(say(CAPITAL_BASEL).unwrap_or(NOT_APPLICABLE)),
            Type::Equity => Some(say(CAPITAL_BASEL).unwrap_or("Common Equity Tier 1")),
            Type::Revenue | Type::Expense => Some(NOT_APPLICABLE),
        });
        let ifrs9 = kind.and_then(|kind| match kind {
            Type::Asset => say(ASSET_IFRS9),
            Type::Liability => say(LIABILITY_IFRS9),
            Type::Equity | Type::Revenue | Type::Expense => Some(NOT_APPLICABLE),
        });
        let treatment = kind.map(|kind| match (kind, basel) {
            (Type::Asset, Some(DEDUCTION)) => "Deducted From Own Funds",
            (Type::Asset, _) => "Risk Weighted",
            (Type::Liability, Some(TIER_2)) | (Type::Equity, _) => "Own Funds",
            (Type::Liability, _) => "Funding",
            (Type::Revenue | Type::Expense, _) => "Profit And Loss",
        });
        let [l1, l2, l3, l4] = parts.levels.clone();
        let known = |name: Option<&'static str>| name.unwrap_or(UNKNOWN).to_owned();
        Self {
            account_id: parts.id.clone(),
            account_code: kind
                .map_or_else(|| UNKNOWN.to_owned(), |kind| code(kind, &hierarchy_path)),
            account_type: known(kind.map(Type::name)),
            account_subtype: known(kind.and_then(|kind| say(kind.subtypes()))),
            account_category: if is_known(&l2) {
                l2.clone()
            } else {
                l1.clone()
            },
            ifrs9_classification: known(ifrs9),
            basel_classification: known(basel),
            regulatory_treatment: known(treatment),
            hierarchy_path,
            l1_category: l1,
            l2_subcategory: l2,
            l3_classification: l3,
            l4_specific: l4,
        }
    }

    fn is_recognised(&self) -> bool {
        is_known(&self.account_type)
    }

    // Weights of the original system.
    fn weighed(&self) -> Vec<(&'static str, &str, f64)> {
        vec![
            ("account_code", &self.account_code, 1.0),
            ("account_type", &self.account_type, 1.0),
            ("account_category", &self.account_category, 1.0),
            ("ifrs9_classification", &self.ifrs9_classification, 1.0),
            ("basel_classification", &self.basel_classification, 1.0),
            ("account_subtype", &self.account_subtype, 0.5),
            ("regulatory_treatment", &self.regulatory_treatment, 0.5),
            ("hierarchy_path", &self.hierarchy_path, 0.5),
        ]
    }
}

/// The same path has the same code, everywhere and always; two paths may share one.
fn code(kind: Type, path: &str) -> String {
    format!(
        "{}{:03}",
        kind.digit(),
        crc32fast::hash(path.as_bytes()) % 1000
    )
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Asset => "Asset",
            Self::Liability => "Liability",
            Self::Equity => "Equity",
            Self::Revenue => "Revenue",
            Self::Expense => "Expense",
        }
    }

    fn digit(self) -> u8 {
        match self {
            Self::Asset => 1,
            Self::Liability => 2,
            Self::Equity => 3,
            Self::Revenue => 4,
            Self::Expense => 5,
        }
    }

    fn subtypes(self) -> Table<&'static str> {
        match self {
            Self::Asset => ASSET_SUBTYPES,
            Self::Liability => LIABILITY_SUBTYPES,
            Self::Equity => EQUITY_SUBTYPES,
            Self::Revenue => REVENUE_SUBTYPES,
            Self::Expense => EXPENSE_SUBTYPES,
        }
    }
}
