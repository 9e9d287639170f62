//! What a host is, for those who ask it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::acme::Acme;
use crate::meter::usage::price::PriceTable;
use crate::tls::certificates::Certificates;

/// What a host is: where it listens, what it charges, and with which certificates it serves.
pub struct About {
    /// Where functions answer.
    pub functions: SocketAddr,
    /// Where they answer over TLS, if they do.
    pub https: Option<SocketAddr>,
    /// Where the admin API answers.
    pub admin: SocketAddr,
    /// The prices of usage.
    pub prices: PriceTable,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    /// Who gets others from an authority, if somebody does.
    pub acme: Option<Arc<Acme>>,
}
