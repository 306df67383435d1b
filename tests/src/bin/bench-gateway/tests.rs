//! The parts, put together as they are measured: each gives back what was sent.

use crate::{bridge, hops, null};
use flotilla_tests::{
    load::{
        echo,
        mcp::{Endpoint, Load},
    },
    program,
};
use std::{net::Ipv4Addr, time::Duration};
use tokio::net::TcpListener;

async fn socket() -> (TcpListener, Endpoint) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a socket");
    let endpoint = socket.local_addr().expect("its address").into();
    (socket, endpoint)
}

/// Sessions that call at the same time, with texts of both sizes.
async fn check(endpoint: Endpoint, same: bool) {
    for payload in [200, 64 << 10] {
        let load = Load {
            endpoint: endpoint.clone(),
            tool: "echo".to_owned(),
            sessions: 4,
            payload,
            same,
            warm_up: Duration::ZERO,
            span: Duration::from_millis(50),
        };
        let outcome = load.run().await.expect("all calls are answered");
        assert!(outcome.calls >= 4);
        load.probe().await.expect("and so is one more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hops_give_back_what_the_server_answers() {
    let (server, direct) = socket().await;
    tokio::spawn(echo::http(server));
    let (tcp, tcp_hop) = socket().await;
    tokio::spawn(hops::tcp(tcp, direct.address));
    let (hyper, hyper_hop) = socket().await;
    tokio::spawn(hops::hyper(hyper, direct.address));
    check(direct, false).await;
    check(tcp_hop, false).await;
    check(hyper_hop, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floors_answer_each_caller_with_its_own_text() {
    let (server, nothing) = socket().await;
    tokio::spawn(null::serve(server));
    check(nothing, false).await;
    let (server, bridged) = socket().await;
    tokio::spawn(async move { bridge::serve(server, &program("bench-gateway")).await });
    check(bridged, false).await;
}
