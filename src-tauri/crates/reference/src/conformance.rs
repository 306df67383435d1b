//! The server that the official conformance suite expects to find: tools, prompts and resources with fixed names.
//!
//! Tables say what exists ([`TOOLS`], [`PROMPTS`], [`RESOURCES`]); the handler looks names up in them. An entry that
//! always answers alike is a constant; one that works is a function over a [`Call`].
//!
//! Both eras of the protocol are spoken, and only [`Call::ask_all`] knows how they differ when a tool needs its client:
//! a legacy client is sent a request and awaited. A modern one has the call ended with what is wanted, calls again with
//! the answers, and the function runs again from its top; answers of earlier rounds travel in the sealed request state,
//! so that each question already answered returns at once. What a function does before a question is thus repeated.
//!
//! Three lifetimes: the [`World`] is shared by whatever one [`Fixture`] serves (what is listed, running tasks), a
//! [`Session`] belongs to one connection (its log level and subscriptions), a [`Call`] to one request.
#![expect(
    deprecated,
    reason = "the suite tests sampling, roots, logging and resources/subscribe, which SEP-2577 retires"
)]

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::*,
    object,
    service::{
        NotificationContext, PeerRequestOptions, RequestContext, ServiceError, SubscriptionContext,
        SubscriptionSendError,
    },
    task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Between two steps of a tool that reports as it goes: long enough for a client to see them arrive apart.
const STEP: Duration = Duration::from_millis(50);
/// A legacy client that was asked something has this long to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Request state is refused when it comes back later than this.
const STATE_LIFE: Duration = Duration::from_secs(600);
/// No task works longer, whatever its arguments say.
const LONGEST: u64 = 3600;
/// Suggested to clients that poll a task.
const POLL_MS: u64 = 200;
/// Changes that a slow listener may fall behind before it misses some.
const BACKLOG: usize = 64;

/// Seals request state. Not a secret: nothing here is worth forging, only changed state must be told from genuine.
const STATE_KEY: &[u8] = b"flotilla conformance fixture: request state";
const _: () = assert!(STATE_KEY.len() >= RequestStateCodec::MIN_KEY_LENGTH);

/// One pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mO4YKAAAAL0ASGWkD2BAAAAAElFTkSuQmCC";
/// A millisecond of silence.
const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

const WATCHED: &str = "test://watched-resource";
const TEMPLATE: &str = "test://template/{id}/data";

// ---- serving ----

type Context = RequestContext<RoleServer>;
/// Lists here are never longer than a page.
type Page = Option<PaginatedRequestParams>;

/// The handler. Clones are the same session; [`Fixture::session`] opens another in the same world.
#[derive(Clone)]
pub(crate) struct Fixture {
    world: Arc<World>,
    session: Arc<Session>,
}

/// What all sessions see.
struct World {
    seal: RequestStateCodec,
    tasks: TaskManager,
    changes: broadcast::Sender<Change>,
    /// Whether the tool and the prompt that come and go are there.
    extra_tool: AtomicBool,
    extra_prompt: AtomicBool,
}

/// What one connection set up for itself. A modern request over HTTP is a session of its own.
struct Session {
    level: Mutex<LoggingLevel>,
    /// Resources a legacy client subscribed to.
    watched: Arc<Mutex<HashSet<String>>>,
    /// Receivers of subscriptions that are acknowledged but not yet listening.
    waiting: Mutex<VecDeque<broadcast::Receiver<Change>>>,
    /// Ends with the session.
    open: CancellationToken,
    _open: DropGuard,
}

/// Something a client may want to be told of.
#[derive(Clone)]
enum Change {
    Tools,
    Prompts,
    Resource(&'static str),
}

impl From<Change> for ServerNotification {
    fn from(change: Change) -> Self {
        match change {
            Change::Tools => ToolListChangedNotification::default().into(),
            Change::Prompts => PromptListChangedNotification::default().into(),
            Change::Resource(uri) => {
                ResourceUpdatedNotification::new(ResourceUpdatedNotificationParam::new(uri)).into()
            }
        }
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let world = World {
            seal: RequestStateCodec::new_unchecked(STATE_KEY),
            tasks: TaskManager::new(),
            changes: broadcast::Sender::new(BACKLOG),
            extra_tool: AtomicBool::new(false),
            extra_prompt: AtomicBool::new(false),
        };
        Self {
            world: Arc::new(world),
            session: Session::open(),
        }
    }

    /// A handler for another connection to the same world.
    pub(crate) fn session(&self) -> Self {
        Self {
            world: self.world.clone(),
            session: Session::open(),
        }
    }

    fn tools(&self) -> impl Iterator<Item = &'static ToolEntry> {
        let extra = self.world.extra_tool.load(Ordering::Relaxed);
        TOOLS.iter().chain(extra.then_some(&EXTRA_TOOL))
    }

    fn prompts(&self) -> impl Iterator<Item = &'static PromptEntry> {
        let extra = self.world.extra_prompt.load(Ordering::Relaxed);
        PROMPTS.iter().chain(extra.then_some(&EXTRA_PROMPT))
    }

    fn announce(&self, change: Change) {
        // Fails when nobody listens, which is fine.
        let _ = self.world.changes.send(change);
    }
}

impl Session {
    fn open() -> Arc<Self> {
        let open = CancellationToken::new();
        Arc::new(Self {
            level: Mutex::new(LoggingLevel::Debug),
            watched: Arc::default(),
            waiting: Mutex::default(),
            _open: open.clone().drop_guard(),
            open,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(
                "flotilla-conformance",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions(
                "A fixture of the MCP conformance suite; nothing here is of use otherwise.",
            )
    }

    async fn list_tools(&self, _: Page, _: Context) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(
            self.tools().map(ToolEntry::describe).collect(),
        ))
    }

    /// Without this rmcp could not compare `Mcp-Param-*` headers with the arguments.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools()
            .find(|tool| tool.name == name)
            .map(ToolEntry::describe)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.tools().find(|tool| tool.name == request.name) else {
            return Err(ErrorData::invalid_params(
                format!("there is no tool {}", request.name),
                None,
            ));
        };
        let call = Call::open(
            self,
            context,
            format!("tools/call:{}", tool.name),
            request.arguments,
            request.input_responses,
            request.request_state,
        )?;
        match tool.body {
            Body::Fixed(answer) => Ok(answer().into()),
            Body::Runs(run) => run(call).await.or_else(Halt::into_response),
            Body::Task { needs, start } => {
                call.require(needs())?;
                let arguments = call.arguments.clone();
                Ok(call.spawn(|task| start(arguments, task)))
            }
        }
    }

    async fn list_prompts(&self, _: Page, _: Context) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(
            self.prompts().map(PromptEntry::describe).collect(),
        ))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Some(prompt) = self.prompts().find(|prompt| prompt.name == request.name) else {
            return Err(ErrorData::invalid_params(
                format!("there is no prompt {}", request.name),
                None,
            ));
        };
        let call = Call::open(
            self,
            context,
            format!("prompts/get:{}", prompt.name),
            request.arguments,
            request.input_responses,
            request.request_state,
        )?;
        match (prompt.run)(call).await {
            Ok(messages) => Ok(GetPromptResult::new(messages)
                .with_description(prompt.description)
                .into()),
            Err(halt) => halt.into_response(),
        }
    }

    async fn list_resources(&self, _: Page, _: Context) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(
            RESOURCES.iter().map(ResourceEntry::describe).collect(),
        ))
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(TEMPLATE, "template")
            .with_title("Template")
            .with_description("The identifier in the address is repeated in the content")
            .with_mime_type("application/json");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let fixed = RESOURCES
            .iter()
            .find(|resource| resource.uri == request.uri);
        match fixed
            .map(ResourceEntry::read)
            .or_else(|| from_template(&request.uri))
        {
            Some(contents) => Ok(ReadResourceResult::new(vec![contents]).into()),
            None => Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(json!({ "uri": request.uri })),
            )),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let known: &[&str] = match (&request.r#ref, request.argument.name.as_str()) {
            (Reference::Prompt(prompt), "arg1") if prompt.name == "test_prompt_with_arguments" => {
                &["paris", "park", "party", "test"]
            }
            (Reference::Resource(resource), "id") if resource.uri == TEMPLATE => {
                &["1", "12", "123"]
            }
            _ => &[],
        };
        let typed = &request.argument.value;
        let fitting = known
            .iter()
            .filter(|value| value.starts_with(typed.as_str()));
        CompletionInfo::with_all_values(fitting.map(ToString::to_string).collect())
            .map(CompleteResult::new)
            .map_err(|reason| ErrorData::internal_error(reason, None))
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        // A modern client sets the level per request; rmcp would let the method through.
        if !is_legacy(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        *lock(&self.session.level) = request.level;
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        lock(&self.session.watched).insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        lock(&self.session.watched).remove(&request.uri);
        Ok(())
    }

    /// A legacy session is told of changes unasked, until it ends.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let mut changes = self.world.changes.subscribe();
        // Not the session itself: held here, it would never end.
        let (watched, open) = (self.session.watched.clone(), self.session.open.clone());
        tokio::spawn(open.run_until_cancelled_owned(async move {
            while let Some(change) = next(&mut changes).await {
                if let Change::Resource(uri) = change
                    && !lock(&watched).contains(uri)
                {
                    continue;
                }
                if context.peer.send_notification(change.into()).await.is_err() {
                    break;
                }
            }
        }));
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        // From here on, and not only once `listen` runs: the client may cause a change as soon as it is acknowledged.
        lock(&self.session.waiting).push_back(self.world.changes.subscribe());
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let waiting = lock(&self.session.waiting).pop_front();
        let mut changes = waiting.unwrap_or_else(|| self.world.changes.subscribe());
        loop {
            let change = tokio::select! {
                () = context.cancelled() => return Ok(()),
                change = next(&mut changes) => change,
            };
            let Some(change) = change else { return Ok(()) };
            match context.sink().send(change.into()).await {
                Ok(()) | Err(SubscriptionSendError::NotificationNotAccepted(_)) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        self.world
            .tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Result<(), ErrorData> {
        self.world
            .tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Result<(), ErrorData> {
        self.world.tasks.cancel_task(&request.task_id)
    }
}

/// The next change; a listener that fell behind misses some, none at all means the world is gone.
async fn next(changes: &mut broadcast::Receiver<Change>) -> Option<Change> {
    loop {
        match changes.recv().await {
            Ok(change) => return Some(change),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

fn is_legacy(context: &Context) -> bool {
    context
        .protocol_version()
        .is_none_or(|version| version.has_initialize())
}

// ---- calls ----

/// One run of a tool or prompt: its arguments, what the client answered so far, and the way back to the client.
struct Call {
    fixture: Fixture,
    context: Context,
    /// Method and name, to which request state is bound.
    subject: String,
    arguments: JsonObject,
    answers: InputResponses,
    /// Whether the client returned request state, and it was genuine.
    resumed: bool,
}

/// Why a call ends without its result.
enum Halt {
    Needs(Box<InputRequiredResult>),
    Failed(ErrorData),
}

impl From<ErrorData> for Halt {
    fn from(error: ErrorData) -> Self {
        Self::Failed(error)
    }
}

impl Halt {
    fn into_response<T: From<InputRequiredResult>>(self) -> Result<T, ErrorData> {
        match self {
            Self::Needs(input) => Ok((*input).into()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl Call {
    fn open(
        fixture: &Fixture,
        context: Context,
        subject: String,
        arguments: Option<JsonObject>,
        responses: Option<InputResponses>,
        state: Option<String>,
    ) -> Result<Self, ErrorData> {
        let mut answers = InputResponses::new();
        if let Some(state) = &state {
            answers = fixture
                .world
                .seal
                .open_json_with(state, subject.as_bytes())
                .map_err(|_| {
                    ErrorData::invalid_params("the request state is not what was sent", None)
                })?;
        }
        answers.extend(responses.unwrap_or_default());
        Ok(Self {
            fixture: fixture.clone(),
            context,
            subject,
            arguments: arguments.unwrap_or_default(),
            answers,
            resumed: state.is_some(),
        })
    }

    fn text(&self, name: &str) -> &str {
        self.arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn capabilities(&self) -> ClientCapabilities {
        self.context.client_capabilities().unwrap_or_default()
    }

    /// Refuses a client that did not declare what the call cannot do without.
    fn require(&self, needed: ClientCapabilities) -> Result<(), ErrorData> {
        if covers(&self.capabilities(), &needed) {
            Ok(())
        } else {
            Err(ErrorData::missing_required_client_capability(needed))
        }
    }

    /// One question to the client, answered with a `T`.
    async fn ask<T: DeserializeOwned>(&self, key: &str, request: InputRequest) -> Result<T, Halt> {
        let mut answers = self.ask_all(vec![(key, request)]).await?;
        let answer = answers.pop().unwrap_or_default();
        Ok(serde_json::from_value(answer).map_err(internal)?)
    }

    /// Questions to the client, all at once, answered in the order given. An answer that does not fit its question is
    /// none: the question is asked again.
    async fn ask_all(&self, questions: Vec<(&str, InputRequest)>) -> Result<Vec<Value>, Halt> {
        for (_, request) in &questions {
            self.require(needs(request))?;
        }
        if is_legacy(&self.context) {
            let mut answers = Vec::new();
            for (_, request) in questions {
                answers.push(self.send(request).await?);
            }
            Ok(answers)
        } else {
            self.recall(questions)
        }
    }

    /// What a modern client answered already, or the halt that has it asked the rest.
    fn recall(&self, questions: Vec<(&str, InputRequest)>) -> Result<Vec<Value>, Halt> {
        let (mut answers, mut missing) = (Vec::new(), InputRequests::new());
        for (key, request) in questions {
            match self.answers.get(key) {
                Some(answer) if fits(&request, answer) => answers.push(answer.clone()),
                _ => {
                    missing.insert(key.to_owned(), request);
                }
            }
        }
        if missing.is_empty() {
            return Ok(answers);
        }
        let bound = SealOptions::new()
            .associated_data(self.subject.as_bytes())
            .ttl(STATE_LIFE);
        let state = self
            .fixture
            .world
            .seal
            .seal_json_with(&self.answers, &bound);
        let state = state.map_err(internal)?;
        let needed = InputRequiredResult::new(Some(missing), Some(state));
        Err(Halt::Needs(Box::new(needed)))
    }

    /// Asks a legacy client and waits.
    async fn send(&self, request: InputRequest) -> Result<Value, ErrorData> {
        let request: ServerRequest = match request {
            InputRequest::CreateMessage(request) => request.into(),
            InputRequest::Elicitation(request) => request.into(),
            InputRequest::ListRoots(request) => request.into(),
            _ => return Err(ErrorData::internal_error("unknown kind of question", None)),
        };
        let options = PeerRequestOptions::with_timeout(PATIENCE);
        let peer = &self.context.peer;
        let sent = peer.send_cancellable_request(request, options).await;
        let answer = match sent {
            Ok(sent) => sent.await_response().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => serde_json::to_value(answer).map_err(internal),
            // The client's own words.
            Err(ServiceError::McpError(error)) => Err(error),
            Err(error) => Err(internal(error)),
        }
    }

    /// Reports progress, if the client wants to know.
    async fn progress(&self, percent: f64, message: &str) {
        if let Some(token) = self.context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, percent)
                .with_total(100.0)
                .with_message(message);
            // A client that went away is not waiting for this.
            let _ = self.context.peer.notify_progress(progress).await;
        }
    }

    /// Writes to the client's log, as far as it asked for one.
    async fn log(&self, level: LoggingLevel, message: &str) {
        let threshold = if is_legacy(&self.context) {
            Some(*lock(&self.fixture.session.level))
        } else {
            self.context.meta.log_level()
        };
        if threshold.is_some_and(|threshold| level as u8 >= threshold as u8) {
            let entry = LoggingMessageNotificationParam::new(level, json!(message))
                .with_logger("conformance");
            // As with progress.
            let _ = self.context.peer.notify_logging_message(entry).await;
        }
    }

    fn spawn(&self, start: impl FnOnce(TaskContext) -> TaskFuture) -> CallToolResponse {
        let options = TaskOptions::new().with_poll_interval_ms(POLL_MS);
        CreateTaskResult::new(self.fixture.world.tasks.spawn(options, start)).into()
    }
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// Whether all that is needed was declared. Only what this server ever needs is looked at.
fn covers(declared: &ClientCapabilities, needed: &ClientCapabilities) -> bool {
    (declared.sampling.is_some() || needed.sampling.is_none())
        && (declared.elicitation.is_some() || needed.elicitation.is_none())
        && (declared.roots.is_some() || needed.roots.is_none())
        && (declared.supports_tasks() || !needed.supports_tasks())
}

/// What a client must be capable of to be asked this.
fn needs(request: &InputRequest) -> ClientCapabilities {
    match request {
        InputRequest::CreateMessage(_) => ClientCapabilities::builder().enable_sampling().build(),
        InputRequest::Elicitation(_) => ClientCapabilities::builder().enable_elicitation().build(),
        InputRequest::ListRoots(_) => ClientCapabilities::builder().enable_roots().build(),
        _ => ClientCapabilities::default(),
    }
}

fn fits(request: &InputRequest, answer: &Value) -> bool {
    fn is<T: DeserializeOwned>(answer: &Value) -> bool {
        T::deserialize(answer).is_ok()
    }
    match request {
        InputRequest::CreateMessage(_) => is::<CreateMessageResult>(answer),
        InputRequest::Elicitation(_) => is::<ElicitResult>(answer),
        InputRequest::ListRoots(_) => is::<ListRootsResult>(answer),
        _ => false,
    }
}

/// A form for the user to fill in.
fn form(message: &str, schema: JsonObject) -> Result<InputRequest, ErrorData> {
    let requested_schema = serde_json::from_value(Value::Object(schema)).map_err(internal)?;
    Ok(InputRequest::Elicitation(ElicitRequest::new(
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: message.to_owned(),
            requested_schema,
        },
    )))
}

/// A form of one required field.
fn field(message: &str, name: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let schema =
        object!({ "type": "object", "properties": { name: { "type": kind } }, "required": [name] });
    form(message, schema)
}

fn name_field() -> Result<InputRequest, ErrorData> {
    field("What is your name?", "name", "string")
}

/// A prompt for the client's model.
fn sampling(prompt: &str, max_tokens: u32) -> InputRequest {
    let messages = vec![SamplingMessage::user_text(prompt)];
    InputRequest::CreateMessage(CreateMessageRequest::new(CreateMessageRequestParams::new(
        messages, max_tokens,
    )))
}

fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

/// A field of a form that was filled in.
fn entered<'a>(answer: &'a ElicitResult, field: &str) -> &'a str {
    let content = answer
        .content
        .as_ref()
        .and_then(|content| content.get(field));
    content
        .and_then(Value::as_str)
        .unwrap_or("nobody in particular")
}

/// A form as it came back, in words.
fn outcome(answer: &ElicitResult) -> String {
    let action = match answer.action {
        ElicitationAction::Accept => "accept",
        ElicitationAction::Decline => "decline",
        _ => "cancel",
    };
    let content = answer.content.as_ref().unwrap_or(&Value::Null);
    format!("action={action}, content={content}")
}

/// What the client's model said.
fn said(answer: &CreateMessageResult) -> &str {
    let content = answer
        .message
        .content
        .first()
        .and_then(|content| content.as_text());
    content.map_or("nothing", |content| &content.text)
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn embedded(uri: &str, mime: &str, text: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(mime))
}

// ---- tools ----

struct ToolEntry {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    schema: fn() -> JsonObject,
    body: Body,
}

type Running<T> = Pin<Box<dyn Future<Output = Result<T, Halt>> + Send>>;

enum Body {
    /// Always answers alike.
    Fixed(fn() -> CallToolResult),
    Runs(fn(Call) -> Running<CallToolResponse>),
    /// Is always a task, for clients capable of what it needs.
    Task {
        needs: fn() -> ClientCapabilities,
        start: fn(JsonObject, TaskContext) -> TaskFuture,
    },
}

impl ToolEntry {
    const fn new(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        schema: fn() -> JsonObject,
        body: Body,
    ) -> Self {
        Self {
            name,
            title,
            description,
            schema,
            body,
        }
    }

    fn describe(&self) -> Tool {
        Tool::new(self.name, self.description, (self.schema)()).with_title(self.title)
    }
}

/// An `async fn` over a [`Call`], as a table holds it.
macro_rules! runs {
    ($function:path) => {
        Body::Runs(|call| Box::pin($function(call)))
    };
}

/// An `async fn` over the arguments and a [`TaskContext`], as a table holds it.
macro_rules! task {
    ($function:path, $needs:path) => {
        Body::Task {
            needs: $needs,
            start: |arguments, task| Box::pin($function(arguments, task)),
        }
    };
}

/// Name, title, description, schema, body. The suite calls the first one, with no arguments, when it tests headers.
#[rustfmt::skip] // A row is a line.
static TOOLS: &[ToolEntry] = &[
    ToolEntry::new("test_simple_text", "Text", "Answers with a text", nothing, Body::Fixed(a_text)),
    ToolEntry::new("test_image_content", "Image", "Answers with an image", nothing, Body::Fixed(an_image)),
    ToolEntry::new("test_audio_content", "Audio", "Answers with a sound", nothing, Body::Fixed(a_sound)),
    ToolEntry::new("test_embedded_resource", "Resource", "Answers with a resource", nothing, Body::Fixed(a_resource)),
    ToolEntry::new("test_multiple_content_types", "Mixture", "Answers with all sorts", nothing, Body::Fixed(a_mixture)),
    ToolEntry::new("test_error_handling", "Error", "Always fails", nothing, Body::Fixed(an_error)),
    ToolEntry::new("json_schema_2020_12_tool", "Schema", "Has a rich schema", rich_schema, Body::Fixed(schema_matters)),
    ToolEntry::new("test_custom_header", "Header", "Has an argument that a header repeats", in_header, runs!(region)),

    ToolEntry::new("test_tool_with_logging", "Log", "Logs as it works", nothing, runs!(log)),
    ToolEntry::new("test_logging_tool", "Log if asked", "Logs as it works, if asked to", nothing, runs!(log)),
    ToolEntry::new("test_tool_with_progress", "Progress", "Reports progress", nothing, runs!(progress)),
    ToolEntry::new("test_reconnection", "Wait", "Leaves time to take its stream up again", nothing, runs!(wait)),
    ToolEntry::new("test_missing_capability", "Capability", "Needs sampling", nothing, runs!(need_sampling)),

    ToolEntry::new("test_sampling", "Sampling", "Asks the client's model", prompt, runs!(sample)),
    ToolEntry::new("test_elicitation", "Form", "Asks the user", message, runs!(elicit)),
    ToolEntry::new("test_elicitation_sep1034_defaults", "Defaults", "Asks with defaults", nothing, runs!(defaults)),
    ToolEntry::new("test_elicitation_sep1330_enums", "Choices", "Asks to choose", nothing, runs!(choices)),
    ToolEntry::new("test_streaming_elicitation", "Late form", "Reports progress, then asks", nothing, runs!(ask_late)),
    ToolEntry::new("test_input_required_result_elicitation", "Ask", "Asks for a name", nothing, runs!(ask_name)),
    ToolEntry::new("test_input_required_result_sampling", "Ask the model", "Asks a capital", nothing, runs!(ask_model)),
    ToolEntry::new("test_input_required_result_list_roots", "Ask for roots", "Names roots", nothing, runs!(ask_roots)),
    ToolEntry::new("test_input_required_result_request_state", "State", "Checks its state", nothing, runs!(confirm)),
    ToolEntry::new("test_input_required_result_tampered_state", "Seal", "Checks its state", nothing, runs!(confirm)),
    ToolEntry::new("test_input_required_result_multiple_inputs", "Ask all", "Asks in one go", nothing, runs!(ask_all)),
    ToolEntry::new("test_input_required_result_multi_round", "Ask twice", "Asks one by one", nothing, runs!(ask_twice)),
    ToolEntry::new("test_input_required_result_capabilities", "Ask able", "Asks what it may", nothing, runs!(ask_able)),

    ToolEntry::new("test_trigger_tool_change", "Change tools", "Adds or takes a tool", nothing, runs!(change_tools)),
    ToolEntry::new("test_trigger_prompt_change", "Change prompts", "Adds or takes one", nothing, runs!(change_prompts)),
    ToolEntry::new("test_trigger_resource_update", "Update", "Updates what is watched", nothing, runs!(update_watched)),

    ToolEntry::new("greet", "Greet", "Greets, and is never a task", whom, runs!(greet)),
    ToolEntry::new("slow_compute", "Compute", "A task for those who know tasks", how_long, runs!(slow_compute)),
    ToolEntry::new("failing_job", "Failing job", "A task that fails", nothing, task!(fail, tasks)),
    ToolEntry::new("protocol_error_job", "Broken job", "A task that breaks", nothing, task!(break_down, tasks)),
    ToolEntry::new("confirm_delete", "Confirm", "A task that asks", filename, task!(confirm_delete, tasks_and_forms)),
    ToolEntry::new("multi_input", "Two questions", "A task that asks twice", nothing, task!(ask_both, tasks_and_forms)),
    ToolEntry::new("test_tool_with_task", "Ask, then work", "Asks, then is a task", nothing, runs!(ask_then_work)),
];

/// Comes and goes with `test_trigger_tool_change`.
static EXTRA_TOOL: ToolEntry = ToolEntry::new(
    "test_extra_tool",
    "Extra tool",
    "Is there every other time",
    nothing,
    Body::Fixed(a_text),
);

// Those that answer alike.

fn a_text() -> CallToolResult {
    text("This is a simple text response for testing.")
}

fn an_image() -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::image(PNG, "image/png")])
}

fn a_sound() -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::audio(WAV, "audio/wav")])
}

fn a_resource() -> CallToolResult {
    let (uri, content) = (
        "test://embedded-resource",
        "This is an embedded resource content.",
    );
    CallToolResult::success(vec![embedded(uri, "text/plain", content)])
}

fn a_mixture() -> CallToolResult {
    let (uri, content) = (
        "test://mixed-content-resource",
        r#"{"test":"data","value":123}"#,
    );
    CallToolResult::success(vec![
        ContentBlock::text("Multiple content types test:"),
        ContentBlock::image(PNG, "image/png"),
        embedded(uri, "application/json", content),
    ])
}

fn an_error() -> CallToolResult {
    let message = "This tool intentionally returns an error for testing";
    CallToolResult::error(vec![ContentBlock::text(message)])
}

fn schema_matters() -> CallToolResult {
    text("The schema is what matters.")
}

// Those that work by themselves.

type Answer = Result<CallToolResponse, Halt>;

async fn region(call: Call) -> Answer {
    Ok(text(format!("region={}", call.text("region"))).into())
}

async fn greet(call: Call) -> Answer {
    Ok(text(format!("Hello, {}!", call.text("name"))).into())
}

async fn log(call: Call) -> Answer {
    call.log(LoggingLevel::Info, "Tool execution started").await;
    sleep(STEP).await;
    call.log(LoggingLevel::Info, "Tool processing data").await;
    sleep(STEP).await;
    call.log(LoggingLevel::Info, "Tool execution completed")
        .await;
    Ok(text("Logged what there was to log.").into())
}

async fn progress(call: Call) -> Answer {
    call.progress(0.0, "begun").await;
    sleep(STEP).await;
    call.progress(50.0, "half way").await;
    sleep(STEP).await;
    call.progress(100.0, "done").await;
    Ok(text("Done.").into())
}

async fn wait(_: Call) -> Answer {
    sleep(2 * STEP).await;
    Ok(text("Waited.").into())
}

async fn need_sampling(call: Call) -> Answer {
    call.require(ClientCapabilities::builder().enable_sampling().build())?;
    Ok(text("Sampling is declared.").into())
}

async fn change_tools(call: Call) -> Answer {
    call.fixture
        .world
        .extra_tool
        .fetch_xor(true, Ordering::Relaxed);
    call.fixture.announce(Change::Tools);
    Ok(text("The tools changed.").into())
}

async fn change_prompts(call: Call) -> Answer {
    call.fixture
        .world
        .extra_prompt
        .fetch_xor(true, Ordering::Relaxed);
    call.fixture.announce(Change::Prompts);
    Ok(text("The prompts changed.").into())
}

async fn update_watched(call: Call) -> Answer {
    call.fixture.announce(Change::Resource(WATCHED));
    Ok(text("The watched resource was updated.").into())
}

// Those that ask the client.

async fn sample(call: Call) -> Answer {
    let question = sampling(call.text("prompt"), 100);
    let answer = call.ask("sample", question).await?;
    Ok(text(format!("LLM response: {}", said(&answer))).into())
}

async fn elicit(call: Call) -> Answer {
    let question = form(call.text("message"), contact_form())?;
    let answer = call.ask("contact", question).await?;
    Ok(text(format!("User response: {}", outcome(&answer))).into())
}

async fn defaults(call: Call) -> Answer {
    let question = form("Please check these values", form_of_defaults())?;
    let answer = call.ask("values", question).await?;
    Ok(text(format!("Elicitation completed: {}", outcome(&answer))).into())
}

async fn choices(call: Call) -> Answer {
    let question = form("Please choose", form_of_choices())?;
    let answer = call.ask("choices", question).await?;
    Ok(text(format!("Elicitation completed: {}", outcome(&answer))).into())
}

async fn ask_late(call: Call) -> Answer {
    call.progress(50.0, "asking").await;
    ask_name(call).await
}

async fn ask_name(call: Call) -> Answer {
    let answer = call.ask("user_name", name_field()?).await?;
    Ok(text(format!("Hello, {}!", entered(&answer, "name"))).into())
}

async fn ask_model(call: Call) -> Answer {
    let question = sampling("What is the capital of France?", 100);
    let answer = call.ask("capital_question", question).await?;
    Ok(text(said(&answer)).into())
}

async fn ask_roots(call: Call) -> Answer {
    let answer: ListRootsResult = call.ask("client_roots", roots()).await?;
    let uris: Vec<_> = answer.roots.iter().map(|root| root.uri.as_str()).collect();
    Ok(text(format!("Roots: {}", uris.join(", "))).into())
}

async fn confirm(call: Call) -> Answer {
    let question = field("Please confirm", "ok", "boolean")?;
    let answer = call.ask("confirm", question).await?;
    let state = if call.resumed { "state-ok" } else { "no state" };
    Ok(text(format!("{state}, {}", outcome(&answer))).into())
}

async fn ask_twice(call: Call) -> Answer {
    let question = field("Step 1: What is your name?", "name", "string")?;
    let name = call.ask("step1", question).await?;
    let question = field("Step 2: What is your favorite color?", "color", "string")?;
    let color = call.ask("step2", question).await?;
    let (name, color) = (entered(&name, "name"), entered(&color, "color"));
    Ok(text(format!("{name} likes {color}")).into())
}

/// A question of each kind.
fn one_of_each() -> Result<Vec<(&'static str, InputRequest)>, ErrorData> {
    Ok(vec![
        ("user_name", name_field()?),
        ("greeting", sampling("Generate a greeting", 50)),
        ("client_roots", roots()),
    ])
}

async fn ask_all(call: Call) -> Answer {
    let answers = call.ask_all(one_of_each()?).await?;
    Ok(text(format!("Answered: {}", json!(answers))).into())
}

/// Asks what the client declared itself capable of answering.
async fn ask_able(call: Call) -> Answer {
    let declared = call.capabilities();
    let mut questions = one_of_each()?;
    questions.retain(|(_, request)| covers(&declared, &needs(request)));
    let answers = call.ask_all(questions).await?;
    Ok(text(format!("Answered: {}", json!(answers))).into())
}

// Those that are tasks, or may be.

async fn slow_compute(call: Call) -> Answer {
    let seconds = call
        .arguments
        .get("seconds")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let work = sleep(Duration::from_secs(seconds.min(LONGEST)));
    let result = text(format!("Computed for {seconds} s: {}", call.text("label")));
    if call.require(tasks()).is_err() {
        work.await;
        return Ok(result.into());
    }
    Ok(call.spawn(|task| {
        Box::pin(async move {
            tokio::select! {
                () = work => Ok(result),
                () = task.cancelled() => Err(TaskExit::Cancelled),
            }
        })
    }))
}

async fn ask_then_work(call: Call) -> Answer {
    call.require(tasks())?;
    let answer = call.ask("user_name", name_field()?).await?;
    let result = text(format!("Hello, {}!", entered(&answer, "name")));
    Ok(call.spawn(|_| {
        Box::pin(async {
            sleep(STEP).await;
            Ok(result)
        })
    }))
}

type Exit = Result<CallToolResult, TaskExit>;

async fn fail(_: JsonObject, _: TaskContext) -> Exit {
    sleep(Duration::from_secs(1)).await;
    Ok(an_error())
}

/// Has no result at all, only an error of the protocol.
async fn break_down(_: JsonObject, _: TaskContext) -> Exit {
    sleep(STEP).await;
    Err(ErrorData::internal_error("The job broke.", None).into())
}

async fn confirm_delete(arguments: JsonObject, task: TaskContext) -> Exit {
    let name = arguments
        .get("filename")
        .and_then(Value::as_str)
        .unwrap_or("it");
    let question = field(&format!("Delete {name}?"), "confirm", "boolean")?;
    let answer = task.request_input("confirm", question).await?;
    let confirmed = answer.pointer("/content/confirm") == Some(&Value::Bool(true));
    Ok(text(if confirmed {
        "Deleted (not really)."
    } else {
        "Kept."
    }))
}

async fn ask_both(_: JsonObject, task: TaskContext) -> Exit {
    let first = task.request_input("first", name_field()?);
    let second = task.request_input("second", name_field()?);
    let (first, second) = tokio::try_join!(first, second)?;
    Ok(text(format!("Answered: {first}, {second}")))
}

fn tasks() -> ClientCapabilities {
    ClientCapabilities::builder().enable_tasks().build()
}

fn tasks_and_forms() -> ClientCapabilities {
    ClientCapabilities::builder()
        .enable_elicitation()
        .enable_tasks()
        .build()
}

// ---- schemas ----

fn nothing() -> JsonObject {
    object!({ "type": "object", "properties": {} })
}

fn prompt() -> JsonObject {
    one_text("prompt", "What to ask")
}

fn message() -> JsonObject {
    one_text("message", "What to ask")
}

fn whom() -> JsonObject {
    one_text("name", "Whom to greet")
}

fn filename() -> JsonObject {
    one_text("filename", "What to ask about; nothing is deleted")
}

fn how_long() -> JsonObject {
    object!({
        "type": "object",
        "properties": { "seconds": { "type": "integer", "minimum": 0 }, "label": { "type": "string" } },
    })
}

fn in_header() -> JsonObject {
    object!({
        "type": "object",
        "properties": { "region": { "type": "string", "x-mcp-header": "Region" } },
        "required": ["region"],
    })
}

fn one_text(name: &str, description: &str) -> JsonObject {
    object!({
        "type": "object",
        "properties": { name: { "type": "string", "description": description } },
        "required": [name],
    })
}

/// Every keyword here must reach the client.
fn rich_schema() -> JsonObject {
    object!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

fn contact_form() -> JsonObject {
    object!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    })
}

/// SEP-1034: a default for each primitive type.
fn form_of_defaults() -> JsonObject {
    object!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "default": true },
        },
    })
}

/// SEP-1330: one or many, with titles or without, and titles as they used to be given.
fn form_of_choices() -> JsonObject {
    let titled = |what: &str| {
        json!([
            { "const": "value1", "title": format!("First {what}") },
            { "const": "value2", "title": format!("Second {what}") },
            { "const": "value3", "title": format!("Third {what}") },
        ])
    };
    object!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": { "type": "string", "oneOf": titled("Option") },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "items": { "type": "string", "enum": ["option1", "option2", "option3"] },
            },
            "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } },
        },
    })
}

// ---- prompts ----

struct PromptEntry {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Name and description; all are required.
    arguments: &'static [(&'static str, &'static str)],
    run: fn(Call) -> Running<Vec<PromptMessage>>,
}

impl PromptEntry {
    fn describe(&self) -> Prompt {
        let arguments = self.arguments.iter().map(|(name, description)| {
            PromptArgument::new(*name)
                .with_description(*description)
                .with_required(true)
        });
        let arguments = (!self.arguments.is_empty()).then(|| arguments.collect());
        Prompt::new(self.name, Some(self.description), arguments).with_title(self.title)
    }
}

static PROMPTS: &[PromptEntry] = &[
    PromptEntry {
        name: "test_simple_prompt",
        title: "Simple prompt",
        description: "A prompt without arguments",
        arguments: &[],
        run: |_| {
            said_by_user(vec![ContentBlock::text(
                "This is a simple prompt for testing.",
            )])
        },
    },
    PromptEntry {
        name: "test_prompt_with_arguments",
        title: "Prompt with arguments",
        description: "A prompt that repeats its arguments",
        arguments: &[
            ("arg1", "First test argument"),
            ("arg2", "Second test argument"),
        ],
        run: |call| {
            let (first, second) = (call.text("arg1"), call.text("arg2"));
            said_by_user(vec![ContentBlock::text(format!(
                "Prompt with arguments: arg1='{first}', arg2='{second}'"
            ))])
        },
    },
    PromptEntry {
        name: "test_prompt_with_embedded_resource",
        title: "Prompt with resource",
        description: "A prompt that holds a resource",
        arguments: &[("resourceUri", "Address of the resource")],
        run: |call| {
            said_by_user(vec![
                embedded(
                    call.text("resourceUri"),
                    "text/plain",
                    "Embedded resource content for testing.",
                ),
                ContentBlock::text("Please process the embedded resource above."),
            ])
        },
    },
    PromptEntry {
        name: "test_prompt_with_image",
        title: "Prompt with image",
        description: "A prompt that holds an image",
        arguments: &[],
        run: |_| {
            said_by_user(vec![
                ContentBlock::image(PNG, "image/png"),
                ContentBlock::text("Please analyze the image above."),
            ])
        },
    },
    PromptEntry {
        name: "test_input_required_result_prompt",
        title: "Prompt that asks",
        description: "A prompt that asks the user first",
        arguments: &[],
        run: |call| {
            Box::pin(async move {
                let question = field("What context should the prompt use?", "context", "string")?;
                let answer = call.ask("user_context", question).await?;
                let context = entered(&answer, "context");
                Ok(vec![PromptMessage::new_text(
                    Role::User,
                    format!("Context: {context}"),
                )])
            })
        },
    },
];

/// Comes and goes with `test_trigger_prompt_change`.
static EXTRA_PROMPT: PromptEntry = PromptEntry {
    name: "test_extra_prompt",
    title: "Extra prompt",
    description: "Is there every other time",
    arguments: &[],
    run: |_| said_by_user(vec![ContentBlock::text("Still here.")]),
};

fn said_by_user(contents: Vec<ContentBlock>) -> Running<Vec<PromptMessage>> {
    let messages = contents
        .into_iter()
        .map(|content| PromptMessage::new(Role::User, content));
    Box::pin(std::future::ready(Ok(messages.collect())))
}

// ---- resources ----

struct ResourceEntry {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    mime: &'static str,
    content: Content,
}

enum Content {
    Text(&'static str),
    /// In base64.
    Binary(&'static str),
}

static RESOURCES: &[ResourceEntry] = &[
    ResourceEntry {
        uri: "test://static-text",
        name: "static-text",
        title: "Static text",
        description: "A text that stays as it is",
        mime: "text/plain",
        content: Content::Text("This is the content of the static text resource."),
    },
    ResourceEntry {
        uri: "test://static-binary",
        name: "static-binary",
        title: "Static image",
        description: "An image that stays as it is",
        mime: "image/png",
        content: Content::Binary(PNG),
    },
    ResourceEntry {
        uri: WATCHED,
        name: "watched-resource",
        title: "Watched resource",
        description: "A text to subscribe to; test_trigger_resource_update tells of an update",
        mime: "text/plain",
        content: Content::Text("Watched resource content."),
    },
];

impl ResourceEntry {
    fn describe(&self) -> Resource {
        Resource::new(self.uri, self.name)
            .with_title(self.title)
            .with_description(self.description)
            .with_mime_type(self.mime)
    }

    fn read(&self) -> ResourceContents {
        let contents = match self.content {
            Content::Text(text) => ResourceContents::text(text, self.uri),
            Content::Binary(blob) => ResourceContents::blob(blob, self.uri),
        };
        contents.with_mime_type(self.mime)
    }
}

/// Reads an address of the form [`TEMPLATE`].
fn from_template(uri: &str) -> Option<ResourceContents> {
    let (before, after) = TEMPLATE.split_once("{id}")?;
    let id = uri.strip_prefix(before)?.strip_suffix(after)?;
    let content = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
    Some(ResourceContents::text(content.to_string(), uri).with_mime_type("application/json"))
}
