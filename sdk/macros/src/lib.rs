//! The attribute `#[handler]` of wfn-sdk, which documents it.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, parse_macro_input};

/// Makes `fn` a handler of `wasi:http/incoming-handler@0.2`, `async fn` one of `wasi:http/handler@0.3`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    if !arguments.is_empty() {
        return refuse(&function, "`#[handler]` takes no arguments");
    }
    if function.sig.inputs.len() != 1 {
        return refuse(&function, "a handler takes one argument, the request");
    }
    let name = &function.sig.ident;
    // Macros of the SDK, which knows its own features; they answer with a message when one is missing.
    let export =
        if function.sig.asyncness.is_some() { quote!(__export_async) } else { quote!(__export_sync) };
    quote! {
        #function
        ::wfn_sdk::#export!(#name);
    }
    .into()
}

/// A compiler's error at the function's head.
fn refuse(function: &ItemFn, message: &str) -> TokenStream {
    Error::new_spanned(&function.sig, message).into_compile_error().into()
}
