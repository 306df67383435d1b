//! Answers a question with the help of the skills, and checks how they talked about it.

use super::{
    decomposition::SubQuestion,
    patterns::Pattern,
    question::session_key,
    skills::{Answer, COLLECTED, Decomposition, Detection, Skill},
    wire::{Kind, Message, Wire},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// A question, answered.
#[derive(Serialize, JsonSchema)]
pub(super) struct Processed {
    /// The answer.
    pub(super) result: Answer,
    /// The parts of the question.
    pub(super) sub_questions: Vec<SubQuestion>,
    /// The kinds of thinking it asks for, surest first.
    pub(super) patterns: Vec<Pattern>,
    /// How many messages it took.
    pub(super) communication: Counts,
    /// The methods called, in order of their first call.
    methods_called: Vec<String>,
    /// The tools called, in order, as skill/tool.
    pub(super) tools_called: Vec<String>,
    /// The messages, in order.
    pub(super) history: Vec<Message>,
    /// What was checked about them.
    pub(super) verification: Verification,
}

/// How many messages.
#[derive(Serialize, JsonSchema)]
pub(super) struct Counts {
    /// Requests.
    pub(super) requests: usize,
    /// Responses.
    pub(super) responses: usize,
    /// Notifications.
    pub(super) notifications: usize,
    /// All of them.
    total: usize,
}

/// What was checked about a run's messages.
#[derive(Serialize, JsonSchema)]
pub(super) struct Verification {
    /// Every request has exactly one response of its id, after it.
    pub(super) requests_answered: bool,
    /// No two requests have one id.
    pub(super) ids_unique: bool,
    /// Every response is well-formed JSON-RPC 2.0, and no failure.
    pub(super) responses_well_formed: bool,
    /// No notification has an id.
    pub(super) notifications_without_id: bool,
    /// The pattern data arrived where the answer was made.
    pub(super) data_arrived: bool,
    /// All of this.
    pub(super) verified: bool,
}

/// Asks the skills in turn: for parts, for patterns, to keep these, for the answer.
pub(super) fn process(
    wire: &Wire,
    context: &Context,
    question: &str,
) -> Result<Processed, Refusal> {
    let mut history = Vec::new();
    let mut tools_called = Vec::new();
    let run = &mut history;
    let mut tool = |skill: Skill, tool: &'static str| {
        tools_called.push(format!("{}/{tool}", skill.name()));
        (skill, tool)
    };

    context.step(0, 4, "taking the question apart")?;
    let (skill, name) = tool(Skill::QuestionDecomposition, "decompose_question");
    let arguments = json!({"question": question});
    let decomposition: Decomposition = wire.call(context, run, skill, name, &arguments)?;

    context.step(1, 4, "looking for patterns")?;
    let (skill, name) = tool(Skill::PatternAnalysis, "analyze_patterns");
    let detection: Detection = wire.call(context, run, skill, name, &arguments)?;

    context.step(2, 4, "handing the patterns on")?;
    let (skill, name) = tool(Skill::AnswerSynthesis, "receive_pattern_data");
    let arguments = json!({"question": question, "patterns": detection.patterns});
    let _: Value = wire.call(context, run, skill, name, &arguments)?;
    let arrived = wire.read(context, run, skill, COLLECTED)?;

    context.step(3, 4, "putting the answer together")?;
    let (skill, name) = tool(Skill::AnswerSynthesis, "synthesize_answer");
    let arguments = json!({"question": question, "components": components(&decomposition)});
    let result: Answer = wire.call(context, run, skill, name, &arguments)?;
    context.step(4, 4, "done")?;

    let data_arrived = arrived.contains(&session_key(question));
    Ok(Processed {
        result,
        sub_questions: decomposition.sub_questions,
        patterns: detection.patterns,
        communication: count(&history),
        methods_called: methods(&history),
        tools_called,
        verification: verify(&history, data_arrived),
        history,
    })
}

/// What the parts bring to the answer: one component.
fn components(decomposition: &Decomposition) -> Value {
    let parts: Vec<String> = decomposition
        .sub_questions
        .iter()
        .map(|part| format!("({}) {}", part.number, part.question))
        .collect();
    // As long as a component may be.
    let content: String = parts.join(" ").chars().take(4000).collect();
    json!([{"source": "to be answered in turn", "content": content}])
}

fn count(history: &[Message]) -> Counts {
    let of = |kind| {
        history
            .iter()
            .filter(|message| message.kind == kind)
            .count()
    };
    Counts {
        requests: of(Kind::Request),
        responses: of(Kind::Response),
        notifications: of(Kind::Notification),
        total: history.len(),
    }
}

fn methods(history: &[Message]) -> Vec<String> {
    let mut methods = Vec::new();
    for method in history.iter().filter_map(|message| message.method.as_ref()) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

fn verify(history: &[Message], data_arrived: bool) -> Verification {
    let of = |kind| {
        (0..)
            .zip(history)
            .filter(move |(_, message): &(usize, _)| message.kind == kind)
    };
    let requests_answered = of(Kind::Request).all(|(asked, request)| {
        let answers: Vec<usize> = of(Kind::Response)
            .filter(|(_, response)| response.id == request.id)
            .map(|(at, _)| at)
            .collect();
        matches!(answers.as_slice(), [at] if *at > asked)
    });
    let ids_unique = of(Kind::Request).all(|(_, request)| {
        let same = of(Kind::Request).filter(|(_, other)| other.id == request.id);
        same.count() == 1
    });
    let responses_well_formed = of(Kind::Response).all(|(_, response)| response.ok == Some(true));
    let notifications_without_id = of(Kind::Notification).all(|(_, told)| told.id.is_none());
    Verification {
        requests_answered,
        ids_unique,
        responses_well_formed,
        notifications_without_id,
        data_arrived,
        verified: requests_answered
            && ids_unique
            && responses_well_formed
            && notifications_without_id
            && data_arrived,
    }
}

/// The question of the demonstration: it has two parts and shows all three patterns.
pub(super) const EXAMPLE: &str =
    "How do feedback loops in a supply network work, and why do small delays cause large swings?";

/// A demonstration run.
#[derive(Serialize, JsonSchema)]
pub(super) struct Demonstration {
    /// The question that was asked.
    question: &'static str,
    /// What the messages show of the protocol.
    pub(super) compliance: Compliance,
    /// The run.
    pub(super) run: Processed,
}

/// What of the protocol was used, and used well.
#[derive(Serialize, JsonSchema)]
pub(super) struct Compliance {
    /// Every response is a JSON-RPC 2.0 result for its request.
    json_rpc_2_0: bool,
    /// Every request has exactly one response.
    request_response: bool,
    /// Notifications were sent, none of them with an id.
    notifications: bool,
    /// Tools were called.
    tools: bool,
    /// A resource was read.
    resources: bool,
    /// All of this.
    pub(super) compliant: bool,
}

/// Answers the example.
pub(super) fn demonstrate(wire: &Wire, context: &Context) -> Result<Demonstration, Refusal> {
    let run = process(wire, context, EXAMPLE)?;
    let checked = &run.verification;
    let called = |method: &str| run.methods_called.iter().any(|called| called == method);
    let mut compliance = Compliance {
        json_rpc_2_0: checked.responses_well_formed && checked.ids_unique,
        request_response: checked.requests_answered,
        notifications: checked.notifications_without_id && run.communication.notifications > 0,
        tools: called("tools/call"),
        resources: called("resources/read"),
        compliant: false,
    };
    compliance.compliant = compliance.json_rpc_2_0
        && compliance.request_response
        && compliance.notifications
        && compliance.tools
        && compliance.resources;
    Ok(Demonstration {
        question: EXAMPLE,
        compliance,
        run,
    })
}

/// What came of the self-test.
#[derive(Serialize, JsonSchema)]
pub(super) struct SelfTest {
    /// Whether all passed.
    all_passed: bool,
    /// How many passed.
    passed: usize,
    /// How many failed.
    failed: usize,
    /// One by one.
    assertions: Vec<Assertion>,
}

#[derive(Serialize, JsonSchema)]
struct Assertion {
    /// What is asserted.
    name: &'static str,
    /// Whether it holds.
    passed: bool,
    /// What was expected.
    expected: String,
    /// What was found.
    found: String,
}

/// Asserts what the demonstration must show.
pub(super) fn self_test(wire: &Wire, context: &Context) -> Result<SelfTest, Refusal> {
    let Demonstration {
        compliance, run, ..
    } = demonstrate(wire, context)?;
    let checked = &run.verification;
    let assertions = vec![
        // The first of the examples in FIPS 180-4's companion document: SHA-256 of "abc".
        assertion(
            "equal questions have equal keys in every run",
            "ba7816bf8f01cfea",
            &session_key("abc"),
        ),
        assertion("parts of the question", 2, run.sub_questions.len()),
        assertion("patterns of the question", 3, run.patterns.len()),
        assertion("confidence of the answer", 1.0, run.result.confidence),
        assertion("tools called", 4, run.tools_called.len()),
        assertion(
            "every request is answered once",
            true,
            checked.requests_answered,
        ),
        assertion("ids are unique", true, checked.ids_unique),
        assertion(
            "responses are well formed",
            true,
            checked.responses_well_formed,
        ),
        assertion("pattern data arrives", true, checked.data_arrived),
        assertion("the protocol is kept", true, compliance.compliant),
    ];
    let passed = assertions.iter().filter(|one| one.passed).count();
    Ok(SelfTest {
        all_passed: passed == assertions.len(),
        passed,
        failed: assertions.len() - passed,
        assertions,
    })
}

fn assertion<T: PartialEq + ToString>(name: &'static str, expected: T, found: T) -> Assertion {
    Assertion {
        name,
        passed: expected == found,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
