//! One method per command of the contract's list.

use crate::{
    clock,
    config::{busy, edit_error},
    core::Core,
    kept, pages,
    sessions::lock,
    subscribe::LogReader,
    workflows::By,
};
use flotilla_config::{
    edit,
    import::{self, ImportError, Paths},
    parse,
    secrets::{Secret, is_name, is_well_known},
};
use flotilla_contract::{
    Caller, ErrorCode, Handler, ServerId, ServerView, WireError,
    agent::{Agent, AgentFilter, AgentStats},
    alert::{
        Alert, AlertChange, AlertHistoryQuery, ChannelEdit, ChannelRef, ChannelTested, ChannelView,
        ChannelWriteParams, CheckExprParams, CheckedExpr, EditPreview, RuleEdit, RuleView,
        RuleWriteParams, Silence, SilenceParams, SilenceRef,
    },
    command::{
        AddParams, AgentEnable, CallParams, CancelParams, CheckParams, CheckedConfig, ConfigText,
        ConfigWritten, DoctorFinding, EditParams, Empty, EnableParams, EventPage, EventQuery,
        HistoryParams, ImportApplyParams, ImportPlan, ImportPreviewParams, ImportSource, Outcomes,
        PageParams, Plan, PlanParams, RemoveParams, Revision, RollbackParams, ScaleParams,
        SecretInfo, SecretRef, SecretSet, SecretsInfo, ServerRef, Targets, WriteParams,
    },
    frame::{EngineInfo, FleetSnapshot},
    gateway::{
        BreakerParams, BreakerView, CacheClear, CacheCleared, CallDetail, CallPick, CallQuery,
        CallRecord, ClientAct, ClientConnect, ClientPreview, ClientQuery, ClientTarget, ClientUndo,
        ClientUndone, ClientWritten, Fault, FaultParams, GatewayView,
    },
    log::{LogEntry, LogQuery},
    metric::{
        Board, MetricAnswer, MetricName, MetricQuery, PageSample, RangeAnswer, RangeQuery,
        ScrapeTarget, SeriesPage, SeriesQuery,
    },
    spec::{ServerSpec, Transport},
    state::HealthCode,
    tool::{ToolCallRecord, ToolList},
    workflow::{
        Asking, ReplayParams, RunActParams, RunDefinition, RunParams, RunQuery, RunRef, RunSummary,
        RunView, SaveParams, StepDetail, StepRef, TriggerRef, TriggerView, WorkflowInfo,
        WorkflowPlan, WorkflowRef, WorkflowShown, WorkflowText,
    },
};
use flotilla_metrics::{MAX_PAGE_BYTES, scrape::ScrapeError};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

/// A Prometheus page that is to be shown is fetched within this time.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// How long a server that is taken out may take to stop before the answer.
const REMOVE: Duration = Duration::from_secs(15);

/// What the engine alone knows is in its own store, whoever is asked for the rest.
fn is_own(metric: &str) -> bool {
    metric.starts_with("flotilla_")
}

fn store(error: flotilla_store::Error) -> WireError {
    WireError::new(ErrorCode::Store, error.to_string())
}

fn import_error(error: ImportError) -> WireError {
    match error {
        ImportError::Edit(error) => edit_error(error),
        other => WireError::new(ErrorCode::BadRequest, other.to_string()),
    }
}

fn because(reason: Option<&String>, otherwise: &str) -> String {
    reason
        .filter(|r| !r.is_empty())
        .map_or_else(|| otherwise.to_owned(), Clone::clone)
}

/// Why a server of the old transport cannot be enabled.
fn stays_disabled(id: &ServerId) -> WireError {
    WireError::new(
        ErrorCode::Unsupported,
        format!(
            "enable {id}: it speaks the old HTTP+SSE transport, which the protocol has dropped; if it also speaks streamable HTTP, give it that url and remove transport"
        ),
    )
}

/// The text of `fleet.toml` without a server.
pub(crate) fn without(text: &str, id: &ServerId) -> Result<String, WireError> {
    edit::remove_server(text, id).map_err(edit_error)
}

impl Core {
    async fn written(
        &self,
        caller: &Caller,
        command: &str,
        server: Option<&ServerId>,
        result: Result<ConfigWritten, WireError>,
    ) -> Result<ConfigWritten, WireError> {
        let (said, ok) = match &result {
            Ok(written) => (format!("revision {}", written.revision), true),
            Err(error) => (format!("failed to {}", error.message), false),
        };
        self.record_actions(
            caller,
            command,
            "",
            std::iter::once((server, said.as_str(), ok)),
        )
        .await;
        result
    }

    /// Records what was done with a run, and what came of it.
    async fn record_run(
        &self,
        caller: &Caller,
        command: &str,
        about: &str,
        end: &Result<RunSummary, WireError>,
    ) {
        let (said, ok) = match end {
            Ok(run) => (format!("run {} is {}", run.run, run.state.word()), true),
            Err(error) => (format!("failed to {}", error.message), false),
        };
        self.record_actions(
            caller,
            command,
            about,
            std::iter::once((None, said.as_str(), ok)),
        )
        .await;
    }

    /// A server that failed for want of this secret is tried again.
    fn retry_for_secret(&self, name: &str, correlation: &str) {
        let users = self.fleet().secrets().remove(name).unwrap_or_default();
        for id in users {
            let seen = self.supervisor.observe(&id);
            let wants = seen.is_some_and(|s| {
                s.desired.running
                    && s.instances
                        .iter()
                        .any(|i| i.health.code == HealthCode::SecretMissing)
            });
            if wants {
                self.want_unwatched(&id, Some(correlation));
            }
        }
    }

    /// The panel's charts from the store, or where there is none, from what is live.
    async fn charts(&self, query: MetricQuery) -> Result<MetricAnswer, WireError> {
        let Some(history) = self.kept.as_ref().map(|kept| kept.history.clone()) else {
            return Ok(self.live.query(&query));
        };
        let interval = self.live.interval();
        let read = move || history.query(&query, interval, clock::now());
        let answer = tokio::task::spawn_blocking(read).await;
        answer
            .map_err(|e| WireError::new(ErrorCode::Internal, e.to_string()))?
            .map_err(|e| WireError::new(ErrorCode::BadRequest, format!("read metrics: {e}")))
    }

    /// Runs something with the secret store off the async threads: a keyring may ask its user.
    async fn with_secrets<T: Send + 'static>(
        &self,
        work: impl FnOnce(
            &dyn flotilla_config::secrets::SecretStore,
        ) -> Result<T, flotilla_config::secrets::SecretError>
        + Send
        + 'static,
    ) -> Result<T, WireError> {
        let secrets = self.secrets.clone();
        let done = tokio::task::spawn_blocking(move || work(&*secrets)).await;
        done.map_err(|e| WireError::new(ErrorCode::Internal, e.to_string()))?
            .map_err(|e| WireError::new(ErrorCode::Secret, e.to_string()))
    }

    fn page_url(&self, id: &ServerId) -> Result<String, WireError> {
        let spec = self.spec(id)?;
        let none = || {
            WireError::new(
                ErrorCode::Unsupported,
                format!(
                    "read the Prometheus page of {id}: it has no metrics_path, or no address of its own"
                ),
            )
        };
        if !pages::has_page(&spec) {
            return Err(none());
        }
        pages::addresses(self, &spec)
            .into_iter()
            .next()
            .ok_or_else(|| {
                WireError::new(
                    ErrorCode::Unreachable,
                    format!("read the Prometheus page of {id}: it does not run"),
                )
            })
    }

    async fn fetch_page(&self, url: &str) -> Result<String, WireError> {
        let page = tokio::time::timeout(
            PAGE_TIME,
            self.pages
                .get(url, reqwest::header::HeaderMap::new(), MAX_PAGE_BYTES),
        )
        .await;
        let text = page
            .unwrap_or(Err(ScrapeError::Timeout(PAGE_TIME)))
            .and_then(|page| String::from_utf8(page.bytes).map_err(|_| ScrapeError::Utf8));
        text.map_err(|why| {
            let said = format!("read {}: {why}", pages::shown(url));
            WireError::new(ErrorCode::Unreachable, said)
        })
    }

    fn preview_import(&self, params: &ImportPreviewParams) -> Result<import::Plan, WireError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let fleet = self.fleet();
        match (&params.path, &params.text, params.reference) {
            (None, None, true) => Ok(import::reference(&fleet)),
            (Some(path), None, false) => {
                let path = PathBuf::from(path);
                let text = import::load(&path).map_err(import_error)?;
                import::preview(&text, Some(&path), &fleet, &lookup).map_err(import_error)
            }
            (None, Some(text), false) => {
                import::preview(text, None, &fleet, &lookup).map_err(import_error)
            }
            _ => Err(WireError::new(
                ErrorCode::BadRequest,
                "preview the import: it needs one of path, text and reference",
            )),
        }
    }
}

impl Handler for Core {
    async fn engine_info(&self, _: &Caller, _: Empty) -> Result<EngineInfo, WireError> {
        Ok(Core::engine_info(self))
    }

    async fn fleet_snapshot(&self, _: &Caller, _: Empty) -> Result<FleetSnapshot, WireError> {
        Ok(self.snapshot())
    }

    async fn server_get(&self, _: &Caller, params: ServerRef) -> Result<ServerView, WireError> {
        self.server_view(&params.server)
            .ok_or_else(|| WireError::no_server(&params.server))
    }

    async fn server_start(&self, caller: &Caller, params: Targets) -> Result<Outcomes, WireError> {
        self.start_servers(caller, &params).await
    }

    async fn server_stop(&self, caller: &Caller, params: Targets) -> Result<Outcomes, WireError> {
        self.stop_servers(caller, &params).await
    }

    async fn server_restart(
        &self,
        caller: &Caller,
        params: Targets,
    ) -> Result<Outcomes, WireError> {
        self.restart_servers(caller, &params).await
    }

    async fn server_scale(
        &self,
        caller: &Caller,
        params: ScaleParams,
    ) -> Result<Outcomes, WireError> {
        self.scale_server(caller, &params).await
    }

    async fn server_reset(&self, caller: &Caller, params: Targets) -> Result<Outcomes, WireError> {
        self.reset_servers(caller, &params).await
    }

    async fn server_plan(&self, _: &Caller, params: PlanParams) -> Result<Plan, WireError> {
        self.plan(&params)
    }

    async fn server_probe(&self, _: &Caller, params: Targets) -> Result<Outcomes, WireError> {
        self.probe_servers(&params).await
    }

    async fn server_add(
        &self,
        caller: &Caller,
        params: AddParams,
    ) -> Result<ConfigWritten, WireError> {
        let name = params.name.clone();
        if self.fleet().server(&name).is_some() {
            return Err(WireError::new(
                ErrorCode::Exists,
                format!("add {name}: a server of that name is declared"),
            ));
        }
        if let Some((variable, _)) = params.command.as_deref().and_then(|c| c.split_once('='))
            && variable
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                format!(
                    "add {name}: its command begins with the variable {variable}, accepted is a program; give variables as env, secret ones by name"
                ),
            ));
        }
        let reason = because(params.reason.as_ref(), &format!("add {name}"));
        let make = |text: &str| edit::add_server(text, &params).map_err(edit_error);
        let written = self
            .write_config(caller, &reason, None, std::slice::from_ref(&name), make)
            .await;
        self.written(caller, "server.add", Some(&name), written)
            .await
    }

    async fn server_edit(
        &self,
        caller: &Caller,
        params: EditParams,
    ) -> Result<ConfigWritten, WireError> {
        let id = params.server.clone();
        self.spec(&id)?;
        let reason = because(params.reason.as_ref(), &format!("edit {id}"));
        let enables = params
            .set
            .get("disabled")
            .is_some_and(|to| to.is_null() || *to == serde_json::Value::Bool(false));
        let make = |text: &str| {
            let text = edit::set(text, &id, &params.set).map_err(edit_error)?;
            // Enabled it would be in the file only.
            let old = |s: &ServerSpec| matches!(s.transport, Transport::Sse { .. });
            if enables && parse(&text).is_ok_and(|fleet| fleet.server(&id).is_some_and(old)) {
                return Err(stays_disabled(&id));
            }
            Ok(text)
        };
        let written = self
            .write_config(caller, &reason, params.hash.as_deref(), &[], make)
            .await;
        self.written(caller, "server.edit", Some(&id), written)
            .await
    }

    async fn server_remove(
        &self,
        caller: &Caller,
        params: RemoveParams,
    ) -> Result<ConfigWritten, WireError> {
        let id = params.server.clone();
        self.spec(&id)?;
        let reason = because(params.reason.as_ref(), &format!("remove {id}"));
        // Tried on the text first: what is refused (others depend on it) is not stopped.
        let refused = self
            .text_to_edit()
            .and_then(|text| without(&text, &id))
            .err();
        if let Some(error) = refused {
            return self
                .written(caller, "server.remove", Some(&id), Err(error))
                .await;
        }
        // Stopped before it is written: the answer comes when nothing of it is left.
        let replicas = self.supervisor.desired(&id).unwrap_or_default().replicas;
        let down = flotilla_supervisor::Desired {
            running: false,
            replicas,
            on_call: false,
        };
        match self.supervisor.want(&id, down, Some(&caller.correlation)) {
            Ok(ticket) => drop(self.supervisor.settled(ticket, REMOVE).await),
            Err(error) => {
                let refused = Err(busy(&error));
                return self
                    .written(caller, "server.remove", Some(&id), refused)
                    .await;
            }
        }
        let written = self
            .write_config(caller, &reason, None, &[], |text| without(text, &id))
            .await;
        if written.is_err() {
            self.want_unwatched(&id, Some(&caller.correlation));
        }
        self.written(caller, "server.remove", Some(&id), written)
            .await
    }

    async fn server_enable(
        &self,
        caller: &Caller,
        params: EnableParams,
    ) -> Result<ConfigWritten, WireError> {
        let id = params.server.clone();
        if let (true, Transport::Sse { .. }) = (params.enabled, self.spec(&id)?.transport) {
            let refused = Err(stays_disabled(&id));
            return self
                .written(caller, "server.enable", Some(&id), refused)
                .await;
        }
        let verb = if params.enabled { "enable" } else { "disable" };
        let reason = because(params.reason.as_ref(), &format!("{verb} {id}"));
        let make = |text: &str| {
            edit::set_enabled(text, &id, params.enabled, params.reason.as_deref())
                .map_err(edit_error)
        };
        let written = self.write_config(caller, &reason, None, &[], make).await;
        self.written(caller, "server.enable", Some(&id), written)
            .await
    }

    async fn server_page(
        &self,
        _: &Caller,
        params: ServerRef,
    ) -> Result<Vec<PageSample>, WireError> {
        let url = self.page_url(&params.server)?;
        let text = self.fetch_page(&url).await?;
        flotilla_metrics::page(&text).map_err(|e| {
            let said = format!("read {}: {e}", pages::shown(&url));
            WireError::new(ErrorCode::Upstream, said)
        })
    }

    async fn tools_list(&self, caller: &Caller, params: ServerRef) -> Result<ToolList, WireError> {
        self.list_tools(caller, &params.server).await
    }

    async fn tools_accept(
        &self,
        caller: &Caller,
        params: ServerRef,
    ) -> Result<ToolList, WireError> {
        let list = self.accept_tools(caller, &params.server).await?;
        let said = format!("{} tools accepted", list.tools.len());
        self.record_actions(
            caller,
            "tools.accept",
            "",
            std::iter::once((Some(&params.server), said.as_str(), true)),
        )
        .await;
        Ok(list)
    }

    async fn tools_call(
        &self,
        caller: &Caller,
        params: CallParams,
    ) -> Result<ToolCallRecord, WireError> {
        self.call_tool(caller, params).await
    }

    async fn tools_cancel(&self, _: &Caller, params: CancelParams) -> Result<Empty, WireError> {
        self.cancel_call(&params.cancel_key).map(|()| Empty {})
    }

    async fn tools_history(
        &self,
        _: &Caller,
        params: HistoryParams,
    ) -> Result<Vec<ToolCallRecord>, WireError> {
        Ok(self.call_history(&params))
    }

    async fn gateway_view(&self, _: &Caller, _: Empty) -> Result<GatewayView, WireError> {
        Ok(self.gateway.view().await)
    }

    async fn gateway_calls(
        &self,
        _: &Caller,
        params: CallQuery,
    ) -> Result<Vec<CallRecord>, WireError> {
        if params.before.is_none() {
            return Ok(self.gateway.calls(&params));
        }
        self.calls.read(&params).await.map_err(store)
    }

    async fn gateway_call(&self, _: &Caller, params: CallPick) -> Result<CallDetail, WireError> {
        let found = self.calls.one(params.at, params.call).await;
        found.map_err(store)?.ok_or_else(|| {
            let message = format!("find call {}: it is not kept on disk", params.call);
            WireError::new(ErrorCode::NotFound, message)
        })
    }

    async fn gateway_breaker(
        &self,
        caller: &Caller,
        params: BreakerParams,
    ) -> Result<BreakerView, WireError> {
        let done = self.gateway.act(&params);
        let said = match &done {
            Ok(view) => format!("{:?}", view.state).to_lowercase(),
            Err(error) => format!("failed to {}", error.message),
        };
        self.record_actions(
            caller,
            "gateway.breaker",
            &format!("{:?}", params.act).to_lowercase(),
            std::iter::once((Some(&params.server), said.as_str(), done.is_ok())),
        )
        .await;
        done
    }

    async fn gateway_cache_clear(
        &self,
        caller: &Caller,
        params: CacheClear,
    ) -> Result<CacheCleared, WireError> {
        if let Some(server) = &params.server {
            self.spec(server)?;
        }
        let cleared = self.gateway.clear_cache(&params).await?;
        self.record_actions(
            caller,
            "gateway.cache_clear",
            params.tool.as_deref().unwrap_or_default(),
            std::iter::once((
                params.server.as_ref(),
                format!("{} answers taken out", cleared.entries).as_str(),
                true,
            )),
        )
        .await;
        Ok(cleared)
    }

    async fn gateway_fault(
        &self,
        caller: &Caller,
        params: FaultParams,
    ) -> Result<Vec<Fault>, WireError> {
        self.spec(&params.server)?;
        let faults = self.gateway.inject(&params)?;
        self.record_actions(
            caller,
            "gateway.fault",
            params.tool.as_deref().unwrap_or_default(),
            std::iter::once((Some(&params.server), "as asked", true)),
        )
        .await;
        Ok(faults)
    }

    async fn gateway_targets(
        &self,
        _: &Caller,
        params: ClientQuery,
    ) -> Result<Vec<ClientTarget>, WireError> {
        self.client_targets(&params).await
    }

    async fn gateway_connect_preview(
        &self,
        _: &Caller,
        params: ClientConnect,
    ) -> Result<ClientPreview, WireError> {
        self.client_preview(params).await
    }

    async fn gateway_connect_write(
        &self,
        caller: &Caller,
        params: ClientConnect,
    ) -> Result<ClientWritten, WireError> {
        let (path, act) = (params.path.clone(), params.act);
        let done = self.client_write(params).await;
        let said = match &done {
            Ok(written) => {
                let what = match act {
                    ClientAct::Connect => "the gateway is in it",
                    ClientAct::Disconnect => "the gateway is out of it",
                };
                format!("{}: {}, {what}", written.client, written.path)
            }
            Err(error) => format!("failed to {}", error.message),
        };
        let outcome = std::iter::once((None, said.as_str(), done.is_ok()));
        self.record_actions(caller, "gateway.connect_write", &path, outcome)
            .await;
        done
    }

    async fn gateway_connect_undo(
        &self,
        caller: &Caller,
        params: ClientUndo,
    ) -> Result<ClientUndone, WireError> {
        let id = params.id.clone();
        let done = self.client_undo(params).await;
        let said = match &done {
            Ok(undone) if undone.exists => format!("{} is as it was", undone.path),
            Ok(undone) => format!("{} is gone, as it was", undone.path),
            Err(error) => format!("failed to {}", error.message),
        };
        let outcome = std::iter::once((None, said.as_str(), done.is_ok()));
        self.record_actions(caller, "gateway.connect_undo", &id, outcome)
            .await;
        done
    }

    async fn logs_read(&self, _: &Caller, params: LogQuery) -> Result<Vec<LogEntry>, WireError> {
        for id in &params.servers {
            self.spec(id)?;
        }
        Ok(LogReader::new(params).first(self))
    }

    async fn events_read(&self, _: &Caller, params: EventQuery) -> Result<EventPage, WireError> {
        self.events.read(&params).await.map_err(store)
    }

    async fn actions_read(&self, _: &Caller, params: EventQuery) -> Result<EventPage, WireError> {
        self.control.actions(&params).await.map_err(store)
    }

    async fn metrics_query(
        &self,
        _: &Caller,
        params: MetricQuery,
    ) -> Result<MetricAnswer, WireError> {
        if self.live.reaches(&params) {
            return Ok(self.live.query(&params));
        }
        let Some(source) = self.prometheus().await? else {
            return self.charts(params).await;
        };
        let narrowest = self.live.interval().saturating_mul(2);
        let (mut answer, others) = source.charts(&params, narrowest).await?;
        if !others.is_empty() {
            // On the same axis: the source has chosen the step.
            let rest = MetricQuery {
                metrics: others,
                from: answer.times.first().copied(),
                to: answer.times.last().copied(),
                step: Some(answer.step),
                ..params
            };
            let rest = self.charts(rest).await?;
            if rest.times == answer.times {
                answer.series.extend(rest.series);
            }
        }
        Ok(answer)
    }

    async fn metrics_names(&self, _: &Caller, _: Empty) -> Result<Vec<MetricName>, WireError> {
        match self.prometheus().await? {
            Some(source) => {
                let mut names = source.names().await?;
                names.retain(|metric| !is_own(&metric.name));
                // Without a store there are none of ours.
                let own = self.kept().map(|kept| kept.names()).unwrap_or_default();
                names.extend(own.into_iter().filter(|metric| is_own(&metric.name)));
                names.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(names)
            }
            None => Ok(self.kept()?.names()),
        }
    }

    async fn metrics_series(
        &self,
        _: &Caller,
        params: SeriesQuery,
    ) -> Result<SeriesPage, WireError> {
        let own = params.metric.as_deref().is_some_and(is_own);
        match self.prometheus().await?.filter(|_| !own) {
            Some(source) => {
                let most = params.limit.unwrap_or(kept::SERIES);
                source.series(&params, most).await
            }
            None => Ok(self.kept()?.series(params)),
        }
    }

    async fn metrics_range(
        &self,
        _: &Caller,
        params: RangeQuery,
    ) -> Result<RangeAnswer, WireError> {
        let own = is_own(&params.metric);
        match self.prometheus().await?.filter(|_| !own) {
            Some(source) => source.range(&params).await,
            None => self.kept()?.range(params).await,
        }
    }

    async fn metrics_targets(&self, _: &Caller, _: Empty) -> Result<Vec<ScrapeTarget>, WireError> {
        Ok(self.kept()?.targets())
    }

    async fn alerts_list(&self, _: &Caller, _: Empty) -> Result<Vec<Alert>, WireError> {
        Ok(self.alerts.list())
    }

    async fn alerts_rules(&self, _: &Caller, _: Empty) -> Result<Vec<RuleView>, WireError> {
        Ok(self.alert_rules())
    }

    async fn alerts_check(
        &self,
        _: &Caller,
        params: CheckExprParams,
    ) -> Result<CheckedExpr, WireError> {
        self.check_expr(&params.expr).await
    }

    async fn alerts_rule_preview(
        &self,
        _: &Caller,
        params: RuleEdit,
    ) -> Result<EditPreview, WireError> {
        self.preview_rules(&params)
    }

    async fn alerts_rule_write(
        &self,
        caller: &Caller,
        params: RuleWriteParams,
    ) -> Result<ConfigWritten, WireError> {
        self.write_rules(caller, params).await
    }

    async fn alerts_history(
        &self,
        _: &Caller,
        params: AlertHistoryQuery,
    ) -> Result<Vec<AlertChange>, WireError> {
        Ok(self.alerts.history(params.limit))
    }

    async fn board_read(&self, _: &Caller, _: Empty) -> Result<Board, WireError> {
        Ok(self.board.read().await)
    }

    async fn board_write(&self, _: &Caller, params: Board) -> Result<Board, WireError> {
        self.board.write(params).await
    }

    async fn alerts_silences(&self, _: &Caller, _: Empty) -> Result<Vec<Silence>, WireError> {
        Ok(self.alerts.silences())
    }

    async fn alerts_silence(
        &self,
        caller: &Caller,
        params: SilenceParams,
    ) -> Result<Silence, WireError> {
        self.silence(caller, params).await
    }

    async fn alerts_unsilence(
        &self,
        caller: &Caller,
        params: SilenceRef,
    ) -> Result<Silence, WireError> {
        self.unsilence(caller, params.id).await
    }

    async fn alerts_channels(&self, _: &Caller, _: Empty) -> Result<Vec<ChannelView>, WireError> {
        Ok(self.alert_channels())
    }

    async fn alerts_channel_preview(
        &self,
        _: &Caller,
        params: ChannelEdit,
    ) -> Result<EditPreview, WireError> {
        self.preview_channels(&params)
    }

    async fn alerts_channel_write(
        &self,
        caller: &Caller,
        params: ChannelWriteParams,
    ) -> Result<ConfigWritten, WireError> {
        self.write_channels(caller, params).await
    }

    async fn alerts_test_channel(
        &self,
        _: &Caller,
        params: ChannelRef,
    ) -> Result<ChannelTested, WireError> {
        self.test_channel(&params.name).await
    }

    async fn workflow_list(&self, _: &Caller, _: Empty) -> Result<Vec<WorkflowInfo>, WireError> {
        self.workflows_listed().await
    }

    async fn workflow_show(
        &self,
        _: &Caller,
        params: WorkflowRef,
    ) -> Result<WorkflowShown, WireError> {
        self.workflow_shown(&params.name).await
    }

    async fn workflow_validate(
        &self,
        _: &Caller,
        params: WorkflowText,
    ) -> Result<WorkflowShown, WireError> {
        crate::workflows::shown(params.text).await
    }

    async fn workflow_plan(
        &self,
        _: &Caller,
        params: RunParams,
    ) -> Result<WorkflowPlan, WireError> {
        self.workflow_planned(params).await
    }

    async fn workflow_run(
        &self,
        caller: &Caller,
        params: RunParams,
    ) -> Result<RunSummary, WireError> {
        let name = params.name.clone();
        let run = self.start_run(By::person(&caller.actor), params).await;
        self.record_run(caller, "workflow.run", &name, &run).await;
        run
    }

    async fn workflow_replay(
        &self,
        caller: &Caller,
        params: ReplayParams,
    ) -> Result<RunSummary, WireError> {
        let of = format!("run {}", params.run);
        let run = self.replay_run(caller, params).await;
        self.record_run(caller, "workflow.replay", &of, &run).await;
        run
    }

    async fn workflow_runs(
        &self,
        _: &Caller,
        params: RunQuery,
    ) -> Result<Vec<RunSummary>, WireError> {
        self.runs_listed(params).await
    }

    async fn workflow_asking(&self, _: &Caller, _: Empty) -> Result<Vec<Asking>, WireError> {
        Ok(self.runs_asking().await)
    }

    async fn workflow_view(&self, _: &Caller, params: RunRef) -> Result<RunView, WireError> {
        self.run_viewed(params.run).await
    }

    async fn workflow_definition(
        &self,
        _: &Caller,
        params: RunRef,
    ) -> Result<RunDefinition, WireError> {
        self.run_definition(params.run).await
    }

    async fn workflow_step(&self, _: &Caller, params: StepRef) -> Result<StepDetail, WireError> {
        self.step_viewed(params).await
    }

    async fn workflow_act(
        &self,
        caller: &Caller,
        params: RunActParams,
    ) -> Result<RunSummary, WireError> {
        let step = params
            .step
            .as_deref()
            .map_or(String::new(), |step| format!(", {step}"));
        let what = format!("{} run {}{step}", params.act.word(), params.run);
        let run = self.act_on_run(caller, params).await;
        self.record_run(caller, "workflow.act", &what, &run).await;
        run
    }

    async fn workflow_wait(&self, _: &Caller, params: RunRef) -> Result<RunSummary, WireError> {
        self.run_waited(params.run).await
    }

    async fn workflow_save(
        &self,
        caller: &Caller,
        params: SaveParams,
    ) -> Result<WorkflowShown, WireError> {
        let name = params.name.clone();
        let saved = self.workflow_saved(params).await;
        let (said, ok) = match &saved {
            Ok(_) => ("written".to_owned(), true),
            Err(error) => (format!("failed to {}", error.message), false),
        };
        let one = std::iter::once((None, said.as_str(), ok));
        self.record_actions(caller, "workflow.save", &name, one)
            .await;
        saved
    }

    async fn workflow_schedules(
        &self,
        _: &Caller,
        _: Empty,
    ) -> Result<Vec<TriggerView>, WireError> {
        self.triggers_listed().await
    }

    async fn workflow_trigger_enable(
        &self,
        caller: &Caller,
        params: TriggerRef,
    ) -> Result<TriggerView, WireError> {
        self.switch_trigger(caller, params, true).await
    }

    async fn workflow_trigger_disable(
        &self,
        caller: &Caller,
        params: TriggerRef,
    ) -> Result<TriggerView, WireError> {
        self.switch_trigger(caller, params, false).await
    }

    async fn agents_list(&self, _: &Caller, params: AgentFilter) -> Result<Vec<Agent>, WireError> {
        let worked = self.workflows.worked();
        let agents = lock(&self.agents);
        Ok(agents
            .list(&params)
            .map(|agent| worked.shown(agent))
            .collect())
    }

    async fn agents_stats(&self, _: &Caller, _: Empty) -> Result<AgentStats, WireError> {
        Ok(lock(&self.agents).stats())
    }

    async fn agents_enable(
        &self,
        caller: &Caller,
        params: AgentEnable,
    ) -> Result<Agent, WireError> {
        let changed = lock(&self.agents).set_enabled(&params.id, params.enabled);
        let changed = changed.map_err(|e| WireError::new(ErrorCode::NotFound, e.to_string()))?;
        if let Some(change) = changed {
            self.agent_changed(caller, change).await;
        }
        let said = if params.enabled {
            "enabled"
        } else {
            "disabled"
        };
        self.record_actions(
            caller,
            "agents.enable",
            &params.id,
            std::iter::once((None, said, true)),
        )
        .await;
        let worked = self.workflows.worked();
        let agent = lock(&self.agents)
            .get(&params.id)
            .map(|agent| worked.shown(agent));
        agent
            .ok_or_else(|| WireError::new(ErrorCode::NotFound, format!("find agent {}", params.id)))
    }

    async fn config_get(&self, _: &Caller, _: Empty) -> Result<ConfigText, WireError> {
        self.config_text()
    }

    async fn config_check(
        &self,
        _: &Caller,
        params: CheckParams,
    ) -> Result<CheckedConfig, WireError> {
        Ok(self.check_config(&params.text))
    }

    async fn config_write(
        &self,
        caller: &Caller,
        params: WriteParams,
    ) -> Result<ConfigWritten, WireError> {
        let reason = because(params.reason.as_ref(), "edited");
        let text = params.text;
        let written = self
            .write_config(caller, &reason, Some(&params.hash), &[], |_| Ok(text))
            .await;
        self.written(caller, "config.write", None, written).await
    }

    async fn config_revisions(
        &self,
        _: &Caller,
        params: PageParams,
    ) -> Result<Vec<Revision>, WireError> {
        self.control
            .revisions(params.limit.unwrap_or(50).min(500))
            .await
            .map_err(store)
    }

    async fn config_rollback(
        &self,
        caller: &Caller,
        params: RollbackParams,
    ) -> Result<ConfigWritten, WireError> {
        let text = self
            .control
            .revision_text(params.number)
            .await
            .map_err(store)?;
        let text = text.ok_or_else(|| {
            WireError::new(
                ErrorCode::NotFound,
                format!("find revision {}", params.number),
            )
        })?;
        let reason = because(
            params.reason.as_ref(),
            &format!("back to revision {}", params.number),
        );
        let written = self
            .write_config(caller, &reason, None, &[], |_| Ok(text))
            .await;
        self.written(caller, "config.rollback", None, written).await
    }

    async fn import_scan(&self, _: &Caller, _: Empty) -> Result<Vec<ImportSource>, WireError> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let paths = Paths::of(&env, std::env::current_dir().ok());
        Ok(paths.map(|paths| import::scan(&paths)).unwrap_or_default())
    }

    async fn import_preview(
        &self,
        _: &Caller,
        params: ImportPreviewParams,
    ) -> Result<ImportPlan, WireError> {
        let plan = self.preview_import(&params)?;
        let shown = plan.shown();
        self.imports.keep(plan);
        Ok(shown)
    }

    async fn import_apply(
        &self,
        caller: &Caller,
        params: ImportApplyParams,
    ) -> Result<ConfigWritten, WireError> {
        let plan = self.imports.get(&params.ticket).ok_or_else(|| {
            WireError::new(
                ErrorCode::NotFound,
                "apply the import: its preview is gone; look at it again",
            )
        })?;
        if params.names.is_empty() {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "apply the import: no server was chosen",
            ));
        }
        // Tried against the text in force, to learn what would be stored; the secrets come before the text.
        let there = self.config_text()?;
        let applied = plan
            .apply(&there.text, &params.names)
            .map_err(import_error)?;
        let secrets = applied.secrets;
        self.with_secrets(move |store| {
            secrets
                .iter()
                .try_for_each(|(name, value)| store.set(name, value))
        })
        .await?;
        let names = params.names.clone();
        let reason = format!("imported from {}", plan.client);
        let make = move |text: &str| {
            plan.apply(text, &names)
                .map(|applied| applied.text)
                .map_err(import_error)
        };
        let written = self
            .write_config(caller, &reason, Some(&there.hash), &applied.added, make)
            .await;
        self.written(caller, "import.apply", None, written).await
    }

    async fn secrets_list(&self, _: &Caller, _: Empty) -> Result<SecretsInfo, WireError> {
        let used = self.fleet().secrets();
        let (kept, stored) = self
            .with_secrets(|store| Ok((store.kept(), store.names()?)))
            .await?;
        let stored: BTreeSet<String> = stored.into_iter().collect();
        let names: BTreeSet<&String> = stored.iter().chain(used.keys()).collect();
        let secrets = names
            .into_iter()
            .map(|name| SecretInfo {
                name: name.clone(),
                present: stored.contains(name),
                used_by: used.get(name).cloned().unwrap_or_default(),
            })
            .collect();
        Ok(SecretsInfo { kept, secrets })
    }

    async fn secrets_set(&self, caller: &Caller, params: SecretSet) -> Result<Empty, WireError> {
        if !is_name(&params.name) {
            let accepted = "1 to 128 characters of A-Z a-z 0-9 _ . - /";
            return Err(WireError::new(
                ErrorCode::BadRequest,
                format!("name a secret {:?}: accepted are {accepted}", params.name),
            ));
        }
        if self.production && is_well_known(&params.value) {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                format!(
                    "store the secret {}: its value is a well-known default; production accepts a secret of its own",
                    params.name
                ),
            ));
        }
        let (name, value) = (params.name.clone(), Secret::new(params.value));
        self.with_secrets(move |store| store.set(&name, &value))
            .await?;
        self.retry_for_secret(&params.name, &caller.correlation);
        self.record_actions(
            caller,
            "secrets.set",
            &params.name,
            std::iter::once((None, "stored", true)),
        )
        .await;
        Ok(Empty {})
    }

    async fn secrets_remove(&self, caller: &Caller, params: SecretRef) -> Result<Empty, WireError> {
        let name = params.name.clone();
        self.with_secrets(move |store| store.remove(&name)).await?;
        self.record_actions(
            caller,
            "secrets.remove",
            &params.name,
            std::iter::once((None, "forgotten", true)),
        )
        .await;
        Ok(Empty {})
    }

    async fn doctor_run(&self, _: &Caller, _: Empty) -> Result<Vec<DoctorFinding>, WireError> {
        Ok(self.doctor().await)
    }

    async fn engine_shutdown(&self, caller: &Caller, _: Empty) -> Result<Empty, WireError> {
        self.record_actions(
            caller,
            "engine.shutdown",
            "",
            std::iter::once((None, "asked", true)),
        )
        .await;
        let asked = self.shutdown_requested.clone();
        tokio::spawn(async move {
            // The answer goes first: a host closes its connections at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            asked.cancel();
        });
        Ok(Empty {})
    }
}
