//! The server behind what is measured: the smallest one that the SDK allows, in its default mode.

use anyhow::Result;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use std::sync::Arc;
use tokio::net::TcpListener;

struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = serde_json::json!({
            "type": "object", "properties": {"text": {"type": "string"}},
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let echo = Tool::new("echo", "Gives back the text, or else its arguments", schema);
        Ok(ListToolsResult::with_all_items(vec![echo]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut arguments = request.arguments.unwrap_or_default();
        let text = match arguments.get_mut("text") {
            Some(serde_json::Value::String(text)) => std::mem::take(text),
            _ => serde_json::Value::Object(arguments).to_string(),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// Serves streamable HTTP at `/mcp`, with sessions and answers as event streams.
///
/// # Errors
/// When the socket fails.
pub async fn http(socket: TcpListener) -> Result<()> {
    let service = StreamableHttpService::new(
        || Ok(Echo),
        Arc::<LocalSessionManager>::default(),
        StreamableHttpServerConfig::default(),
    );
    let router = axum::Router::new().route_service("/mcp", service);
    let socket = axum::serve::ListenerExt::tap_io(socket, |stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(socket, router).await?;
    Ok(())
}

/// Serves the standard streams until the input ends.
///
/// # Errors
/// When they fail.
pub async fn stdio() -> Result<()> {
    let serving = Echo.serve(rmcp::transport::stdio()).await?;
    serving.waiting().await?;
    Ok(())
}
