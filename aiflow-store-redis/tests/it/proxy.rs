//! A way to the server that can be cut: how does the store bear a network that fails?

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// What is asked arrives; the answer does not, and the connection ends in its place.
    LosesAnswers,
    /// Nobody gets through.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    way: watch::Sender<Way>,
    port: watch::Sender<u16>,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (way, seen) = watch::channel(Way::Open);
        let (port, leads_to) = watch::channel(port);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = *leads_to.borrow();
                tokio::spawn(pass(client, port, seen.clone()));
            }
        });
        Self { url, way, port }
    }

    /// New connections lead to another server, as after a failover.
    pub(crate) fn lead_to(&self, port: u16) {
        self.port.send_replace(port);
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(client: TcpStream, port: u16, way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let answering = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if *way.borrow() != Way::Open || to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let mut cut = way.clone();
    tokio::select! {
        () = asking => {}
        () = answering => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}
