//! Recursion that only the compiler can see: through an alias, another path, or another generic
//! type.
//!
//! `Vec<Alias<T>>: Freezable` as a bound of `Tree<T>: Freezable` is circular if the alias means the
//! tree, and every use of the tree would then be an error that does not mention this. So the output
//! has the compiler check whether the bound holds only if `Tree<T>: Freezable` is assumed.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{ConstParam, GenericParam, LifetimeParam, Path, Type, TypeParam};

use crate::bounds::{asks_for_itself_unseen, names_self};
use crate::model::Model;
use crate::names::Names;

/// Functions that compile unless a field's type leads back to the type that is derived.
pub(crate) fn checks(model: &Model<'_>, names: &Names) -> TokenStream {
    // A function has no `Self` for the type's own bounds to refer to.
    if names_self(model.input.generics.to_token_stream())
        || names_self(model.input.generics.where_clause.to_token_stream())
    {
        return TokenStream::new();
    }
    let fields = model.body.fields();
    let types = fields.into_iter().filter(|field| asks_for_itself_unseen(field, model));
    types.enumerate().map(|(index, field)| check(field.ty, index, model, names)).collect()
}

fn check(ty: &Type, index: usize, model: &Model<'_>, names: &Names) -> TokenStream {
    let (krate, ident) = (&model.krate, &model.input.ident);
    let (alone, within) = (names.function("alone", index), names.function("within", index));
    let (_, arguments, own_where) = model.input.generics.split_for_impl();
    let (params, wheres): (Vec<_>, Vec<_>) =
        model.input.generics.params.iter().map(|param| apart(param, krate)).unzip();
    let own = own_where.into_iter().flat_map(|clause| &clause.predicates);
    let wheres: Vec<_> =
        own.map(ToTokens::to_token_stream).chain(wheres.into_iter().flatten()).collect();
    let whole = names.mapper();
    quote! {
        fn #alone<#(#params),*>(_: &#ident #arguments) -> impl ::core::marker::Sized
        where #(#wheres,)* #ident #arguments: ::core::marker::Sized,
        {
            use #krate::__private::recursion::Ask as _;
            (&&#krate::__private::recursion::Alone::<#ty>::NEW).__freeze_ask()
        }

        fn #within<#(#params),*>(#whole: &#ident #arguments)
        where #(#wheres,)* #ident #arguments: #krate::Freezable,
        {
            use #krate::__private::recursion::Ask as _;
            (&&&#krate::__private::recursion::Within::<_, #ty>::new(#alone(#whole))).__freeze_ask().pass::<#ty>()
        }
    }
}

/// A parameter, and separately its bounds including `Freezable`, because all bounds of a function's
/// parameter should be in one place.
fn apart(param: &GenericParam, krate: &Path) -> (TokenStream, Option<TokenStream>) {
    match param {
        GenericParam::Lifetime(LifetimeParam { lifetime, bounds, .. }) => {
            let bounds = (!bounds.is_empty()).then(|| quote!(#lifetime: #bounds));
            (lifetime.to_token_stream(), bounds)
        }
        GenericParam::Type(TypeParam { ident, bounds, .. }) => {
            let bounds = bounds.iter();
            (ident.to_token_stream(), Some(quote!(#ident: #(#bounds +)* #krate::Freezable)))
        }
        GenericParam::Const(ConstParam { ident, ty, .. }) => (quote!(const #ident: #ty), None),
    }
}
