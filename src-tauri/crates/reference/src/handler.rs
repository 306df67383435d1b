//! A server as the SDK sees it: one handler for each legacy session and for each modern request, all of one [`Calls`].
//!
//! Subscriptions in the legacy era belong to the session: one task forwards changes of what it subscribed to, and ends with the
//! handler. In the modern era each `subscriptions/listen` is a request that stays open.

use crate::{
    calls::{CallError, Calls},
    service::Host,
    tool::{Context, Refusal, Tool},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        ErrorCode, GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation,
        InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
        Prompt, PromptArgument, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Resource, ResourceContents, ResourceUpdatedNotificationParam, Role,
        ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter,
        Tool as ToolModel, ToolAnnotations, UnsubscribeRequestParams,
    },
    service::{NotificationContext, Peer, RequestContext, SubscriptionContext},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Names a request in logs, here and at the caller's.
#[derive(Clone)]
pub(crate) struct CorrelationId(pub(crate) String);

/// Where a client without headers puts it, in `_meta`.
const CORRELATION_META: &str = "correlationId";

/// Resources of one session at most: more names than there are resources would only cost memory.
const SUBSCRIPTIONS: usize = 256;

/// One session, or one modern request.
pub(crate) struct Handler {
    calls: Arc<Calls>,
    host: Host,
    subscribed: Arc<Mutex<Subscribed>>,
    /// Changes since a modern subscription was accepted: it is acknowledged before [`ServerHandler::listen`] is asked.
    accepted: Mutex<Option<Receiver<String>>>,
}

#[derive(Default)]
struct Subscribed {
    uris: BTreeSet<String>,
    /// Ends the forwarding task.
    forwarding: Option<DropGuard>,
}

impl Handler {
    pub(crate) fn new(calls: Arc<Calls>, host: Host) -> Self {
        Self {
            calls,
            host,
            subscribed: Arc::default(),
            accepted: Mutex::default(),
        }
    }

    fn subscribed(&self) -> std::sync::MutexGuard<'_, Subscribed> {
        lock(&self.subscribed)
    }

    fn resource(&self, uri: &str) -> Result<&crate::service::Resource, ErrorData> {
        self.calls
            .service
            .resources
            .iter()
            .find(|resource| resource.uri == uri)
            .ok_or_else(|| {
                ErrorData::resource_not_found(
                    format!("there is no resource {uri:?}"),
                    Some(serde_json::json!({"uri": uri})),
                )
            })
    }

    /// Forwards changes to a legacy session, until it ends.
    fn forward(&self, peer: Peer<RoleServer>) {
        let mut subscribed = self.subscribed();
        if subscribed.forwarding.is_some() {
            return;
        }
        let ended = CancellationToken::new();
        subscribed.forwarding = Some(ended.clone().drop_guard());
        let (state, mut changes) = (Arc::downgrade(&self.subscribed), self.host.changes());
        let wants = move |uri: &str| {
            state
                .upgrade()
                .is_some_and(|state| lock(&state).uris.contains(uri))
        };
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            while let Some(uri) = next_change(&mut changes, &wants).await {
                let update = ResourceUpdatedNotificationParam::new(uri);
                if peer.notify_resource_updated(update).await.is_err() {
                    return;
                }
            }
        }));
    }
}

fn lock<T>(state: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next change that is wanted. None once there are none any more.
async fn next_change(
    changes: &mut Receiver<String>,
    wants: impl Fn(&str) -> bool,
) -> Option<String> {
    loop {
        match changes.recv().await {
            Ok(uri) if wants(&uri) => return Some(uri),
            // A reader that was too slow has missed some: what comes next tells it to read anew.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let service = &self.calls.service;
        let mut info = ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_prompts()
                .build(),
        );
        let mut itself = Implementation::new(service.name, env!("CARGO_PKG_VERSION"));
        itself.title = Some(service.title.to_owned());
        info.server_info = itself;
        info.instructions = Some(service.description.to_owned());
        info
    }

    async fn ping(&self, _context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.calls.metrics.request("ping");
        self.calls.drilling.answers().await;
        Ok(())
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        self.calls.metrics.request("initialize");
        self.calls.drilling.answers().await;
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let Some(mut loss) = self.calls.drilling.loss() else {
            return;
        };
        tokio::spawn(async move {
            if loss.wait_for(|lost| *lost).await.is_ok() {
                // A session that ended needs no telling.
                let _ = context.peer.notify_tool_list_changed().await;
            }
        });
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.calls.metrics.request("tools/list");
        self.calls.drilling.answers().await;
        let mut list =
            ListToolsResult::with_all_items(self.calls.tools().iter().map(model).collect());
        list.ttl_ms = Some(TTL_MS);
        list.cache_scope = Some(CacheScope::Public);
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<ToolModel> {
        self.calls
            .tools()
            .iter()
            .find(|tool| tool.name == name || tool.alias == Some(name))
            .map(model)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.calls.metrics.request("tools/call");
        let (own, steps) = own_context(&context);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let call = self.calls.call(&request.name, arguments, own);
        let result = match steps {
            Some(steps) => with_progress(call, steps, &context).await,
            None => call.await,
        };
        match result {
            Ok(result) => Ok(CallToolResult::structured(result).into()),
            Err(CallError::Unknown(name)) => Err(ErrorData::invalid_params(
                format!("there is no tool {name:?}"),
                None,
            )),
            Err(CallError::Refused(Refusal::Cancelled)) => Err(ErrorData::new(
                ErrorCode(-32800),
                "cancelled by the caller",
                None,
            )),
            // What a tool refuses is for the model to read and mend (SEP-1303).
            Err(error) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into())
            }
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.calls.metrics.request("resources/list");
        self.calls.drilling.answers().await;
        let resources = self.calls.service.resources.iter().map(|resource| {
            Resource::new(resource.uri, resource.name)
                .with_description(resource.description)
                .with_mime_type(JSON)
        });
        let mut list = ListResourcesResult::with_all_items(resources.collect());
        list.ttl_ms = Some(TTL_MS);
        list.cache_scope = Some(CacheScope::Public);
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.calls.metrics.request("resources/templates/list");
        let mut list = ListResourceTemplatesResult::with_all_items(Vec::new());
        list.ttl_ms = Some(TTL_MS);
        list.cache_scope = Some(CacheScope::Public);
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.calls.metrics.request("resources/read");
        self.calls.drilling.answers().await;
        let resource = self.resource(&request.uri)?;
        let text = (resource.read)().to_string();
        let contents = ResourceContents::text(text, request.uri).with_mime_type(JSON);
        let mut result = ReadResourceResult::new(vec![contents]);
        // It may change at any moment, and says so to whoever subscribed.
        result.ttl_ms = Some(0);
        result.cache_scope = Some(CacheScope::Public);
        Ok(result.into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.calls.metrics.request("resources/subscribe");
        self.resource(&request.uri)?;
        {
            let mut subscribed = self.subscribed();
            if subscribed.uris.len() >= SUBSCRIPTIONS {
                return Err(ErrorData::invalid_params(
                    format!("uri: a session subscribes to {SUBSCRIPTIONS} resources at most"),
                    None,
                ));
            }
            subscribed.uris.insert(request.uri);
        }
        self.forward(context.peer);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.calls.metrics.request("resources/unsubscribe");
        self.subscribed().uris.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = requested.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            uris.retain(|uri| self.resource(uri).is_ok());
        }
        *lock(&self.accepted) = Some(self.host.changes());
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.calls.metrics.request("subscriptions/listen");
        let accepted = context.accepted();
        let uris = accepted.resource_subscriptions.clone().unwrap_or_default();
        let updates = async {
            let waiting = lock(&self.accepted).take();
            let mut changes = waiting.unwrap_or_else(|| self.host.changes());
            let wants = |uri: &str| uris.iter().any(|wanted| wanted == uri);
            while let Some(uri) = next_change(&mut changes, wants).await {
                if context.sink().notify_resource_updated(uri).await.is_err() {
                    return;
                }
            }
        };
        let losses = async {
            let loss = self.calls.drilling.loss();
            if let (Some(mut loss), Some(true)) = (loss, accepted.tools_list_changed)
                && loss.wait_for(|lost| *lost).await.is_ok()
            {
                let _ = context.sink().notify_tool_list_changed().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = context.cancelled() => {}
            () = updates => {}
            () = losses => {}
        }
        Ok(())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.calls.metrics.request("prompts/list");
        self.calls.drilling.answers().await;
        let prompts = self.calls.service.prompts.iter().map(|prompt| {
            let arguments = prompt.arguments.iter().map(|argument| {
                PromptArgument::new(argument.name)
                    .with_description(argument.description)
                    .with_required(argument.required)
            });
            Prompt::new(
                prompt.name,
                Some(prompt.description),
                Some(arguments.collect()),
            )
        });
        let mut list = ListPromptsResult::with_all_items(prompts.collect());
        list.ttl_ms = Some(TTL_MS);
        list.cache_scope = Some(CacheScope::Public);
        Ok(list)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.calls.metrics.request("prompts/get");
        let prompts = &self.calls.service.prompts;
        let Some(prompt) = prompts.iter().find(|prompt| prompt.name == request.name) else {
            return Err(ErrorData::invalid_params(
                format!("there is no prompt {:?}", request.name),
                None,
            ));
        };
        let text = prompt
            .text(&request.arguments.unwrap_or_default())
            .map_err(|refusal| ErrorData::invalid_params(refusal.to_string(), None))?;
        let message = PromptMessage::new_text(Role::User, text);
        Ok(GetPromptResult::new(vec![message])
            .with_description(prompt.description)
            .into())
    }
}

const JSON: &str = "application/json";

/// Lists change only with the program, or in a drill, which says so.
const TTL_MS: u64 = 60_000;

fn model(tool: &Tool) -> ToolModel {
    let hints = ToolAnnotations::from_raw(
        Some(tool.title.to_owned()),
        Some(tool.hints.read_only),
        Some(tool.hints.destructive),
        Some(tool.hints.idempotent),
        Some(false),
    );
    ToolModel::new(tool.name, tool.description, Arc::clone(tool.input()))
        .with_title(tool.title)
        .with_raw_output_schema(Arc::clone(tool.output()))
        .with_annotations(hints)
}

/// How far a call has come: steps done, of how many, what is being done.
type Step = (u32, u32, String);

/// What the tool may know of the request; and, when the caller wants progress, where that comes out.
fn own_context(context: &RequestContext<RoleServer>) -> (Context, Option<mpsc::Receiver<Step>>) {
    let mut own = Context {
        cancelled: context.ct.clone(),
        correlation_id: correlation_id(context),
        ..Context::default()
    };
    if context.meta.get_progress_token().is_none() {
        return (own, None);
    }
    let (sender, receiver) = mpsc::channel(64);
    own.progress = Some(Arc::new(move |done, of, doing: &str| {
        // A step that finds no room is left out: the next one says more.
        let _ = sender.try_send((done, of, doing.to_owned()));
    }));
    (own, Some(receiver))
}

fn correlation_id(context: &RequestContext<RoleServer>) -> Option<String> {
    let header = context
        .extensions
        .get::<axum::http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<CorrelationId>());
    match header {
        Some(CorrelationId(id)) => Some(id.clone()),
        None => {
            let given: Option<&str> = context.meta.get(CORRELATION_META).and_then(Value::as_str);
            Some(crate::http::correlation_id(given))
        }
    }
}

/// Tells the caller how far it is while the call runs.
async fn with_progress<T>(
    call: impl Future<Output = T>,
    mut steps: mpsc::Receiver<Step>,
    context: &RequestContext<RoleServer>,
) -> T {
    let mut call = std::pin::pin!(call);
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => tell(context, step).await,
            result = &mut call => break result,
        }
    };
    while let Ok(step) = steps.try_recv() {
        tell(context, step).await;
    }
    result
}

async fn tell(context: &RequestContext<RoleServer>, (done, of, doing): Step) {
    if let Some(token) = context.meta.get_progress_token() {
        let progress = ProgressNotificationParam::new(token, f64::from(done))
            .with_total(f64::from(of))
            .with_message(doing);
        // Who no longer listens is told when it asks.
        let _ = context.peer.notify_progress(progress).await;
    }
}

/// The bare form's way to the same calls.
pub(crate) async fn call_bare(
    calls: &Calls,
    params: &Map<String, Value>,
    correlation_id: String,
) -> Result<Value, CallError> {
    let name = params.get("name").and_then(Value::as_str);
    let Some(name) = name else {
        return Err(Refusal::argument("params.name", "is required, a string").into());
    };
    let arguments = params
        .get("arguments")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let context = Context {
        correlation_id: Some(correlation_id),
        ..Context::default()
    };
    let result = calls.call(name, arguments, context).await?;
    Ok(crate::rpc::called(result))
}
