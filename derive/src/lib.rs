//! `#[derive(Fields)]`: maps a struct to the fields of a stream, for reading and for emitting.
//!
//! Owns: reading the struct, and the code that is made of it. Leaves to others: what a field may hold, and looking fields
//! up when a component is made (`fields` in the worker's components, which re-exports this). Invariant: what cannot work
//! is an error of the compiler at the place of the struct where it stands.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Data, DeriveInput, Error, Field, Fields, GenericParam, LitStr, Path, Token};

/// Maps the fields of a struct to those of a stream with the same names.
///
/// `#[field(name = "...")]` on a field gives it another name; `#[fields(crate = "...")]` on the struct says where
/// `fields` is found, which is `waterspout_cli` by default.
#[proc_macro_derive(Fields, attributes(field, fields))]
pub fn derive_fields(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let root = root(input)?;
    let fields = named_fields(input)?;
    let mut names: Vec<LitStr> = Vec::new();
    for field in fields {
        let name = name(field)?;
        if names.iter().any(|known| known.value() == name.value()) {
            let problem = format!("two fields have the name '{}'", name.value());
            return Err(Error::new_spanned(field, problem));
        }
        names.push(name);
    }
    let ident = &input.ident;
    let of = of(input)?;
    let (generics, type_generics, wheres) = input.generics.split_for_impl();
    let members: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let indexes = 0..members.len();
    let arms = indexes.clone();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #root::fields::Fields for #ident #type_generics #wheres {
            type Of<'of> = #of;
            const NAMES: &'static [&'static str] = &[#(#names),*];

            fn read<'of>(
                row: #root::fields::Row<'of>,
                positions: &[usize],
            ) -> ::core::result::Result<#of, #root::fields::WrongField> {
                ::core::result::Result::Ok(#ident {
                    #(#members: #root::fields::read_field(row, positions, #indexes)?,)*
                })
            }

            fn write(&self, index: usize, row: &mut #root::fields::RowWriter<'_>) {
                match index {
                    #(#arms => #root::fields::Field::write(&self.#members, row),)*
                    _ => {}
                }
            }
        }
    })
}

/// The struct's type with its lifetime, if it has one, called `'of`.
fn of(input: &DeriveInput) -> Result<TokenStream, Error> {
    let ident = &input.ident;
    let parameters: Vec<_> = input.generics.params.iter().collect();
    match parameters.as_slice() {
        [] => Ok(quote!(#ident)),
        [GenericParam::Lifetime(_)] => Ok(quote!(#ident<'of>)),
        _ => {
            let problem = "a struct of fields has at most one parameter, a lifetime";
            Err(Error::new_spanned(&input.generics, problem))
        }
    }
}

fn named_fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>, Error> {
    let problem = "only a struct with named fields can be mapped to the fields of a stream";
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, problem));
    };
    match &data.fields {
        Fields::Named(fields) if !fields.named.is_empty() => Ok(&fields.named),
        _ => Err(Error::new_spanned(&input.ident, problem)),
    }
}

/// The name that a field has in streams.
fn name(field: &Field) -> Result<LitStr, Error> {
    let mut name = None;
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("field"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse::<LitStr>()?);
                return Ok(());
            }
            Err(meta.error("a field has no such setting; write `#[field(name = \"...\")]`"))
        })?;
    }
    match (name, &field.ident) {
        (Some(name), _) if name.value().is_empty() => {
            Err(Error::new_spanned(name, "a field's name is not empty"))
        }
        (Some(name), _) => Ok(name),
        (None, Some(ident)) => {
            let text = ident.to_string();
            Ok(LitStr::new(
                text.strip_prefix("r#").unwrap_or(&text),
                ident.span(),
            ))
        }
        (None, None) => Err(Error::new_spanned(field, "a field without a name")),
    }
}

/// Where `fields` is found.
fn root(input: &DeriveInput) -> Result<Path, Error> {
    let mut root: Option<Path> = None;
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("fields"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                root = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                return Ok(());
            }
            Err(meta.error("a struct has no such setting; write `#[fields(crate = \"...\")]`"))
        })?;
    }
    Ok(root.unwrap_or_else(|| syn::parse_quote!(::waterspout_cli)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let input: DeriveInput = syn::parse_str(text).unwrap();
        expand(&input)
            .map(|tokens| tokens.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_those_of_the_struct_or_as_said() {
        let code =
            expanded("struct A<'a> { word: &'a str, #[field(name = \"at-time\")] at: i64, r#type: bool }")
                .unwrap();
        assert!(code.contains("[\"word\" , \"at-time\" , \"type\"]"), "{code}");
        assert!(code.contains("type Of < 'of > = A < 'of >"), "{code}");
        let code = expanded("#[fields(crate = \"a::b\")] struct A { word: String }").unwrap();
        assert!(code.contains("impl a :: b :: fields :: Fields for A"), "{code}");
    }

    #[test]
    fn what_cannot_be_mapped_is_said() {
        for (text, expected) in [
            ("enum A { B }", "only a struct with named fields"),
            ("struct A(i64);", "only a struct with named fields"),
            ("struct A {}", "only a struct with named fields"),
            ("struct A<T> { a: T }", "at most one parameter, a lifetime"),
            (
                "struct A<'a, 'b> { a: &'a str, b: &'b str }",
                "at most one parameter, a lifetime",
            ),
            (
                "struct A { a: i64, #[field(name = \"a\")] b: i64 }",
                "two fields have the name 'a'",
            ),
            (
                "struct A { #[field(name = \"\")] b: i64 }",
                "a field's name is not empty",
            ),
            ("struct A { #[field(nam = \"b\")] b: i64 }", "write `#[field(name"),
            (
                "#[fields(root = \"b\")] struct A { b: i64 }",
                "write `#[fields(crate",
            ),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
