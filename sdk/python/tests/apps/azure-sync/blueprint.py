"""Functions of a blueprint."""

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.route(route="blue/{colour:alpha}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def blue(req: func.HttpRequest) -> str:
    return f"blueprint {req.route_params['colour']}"
