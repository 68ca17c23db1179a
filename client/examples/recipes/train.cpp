// C++ with libgreedylr: report the loss, train on with the rate that comes back.
//
//     c++ client/examples/recipes/train.cpp $(pkg-config --cflags --libs libgreedylr) -o train && ./train [JOB]
//
// The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  Without it the training goes on at the last rate.
#include <greedylr.h>

#include <cstdio>
#include <vector>

// The model: one weight, fitted to y = 3 x.
static double train_and_validate(double &weight, double lr)
{
    const std::vector<double> x = {-2, -1, -0.5, 0.5, 1, 2};
    double loss = 0;

    for (double value : x)
        weight -= lr * 2 * (weight * value - 3 * value) * value;
    for (double value : x)
        loss += (weight * value - 3 * value) * (weight * value - 3 * value);
    return loss / static_cast<double>(x.size());
}

static int failed(const char *what)
{
    std::fprintf(stderr, "%s: %s\n", what, glr_error()->message);
    return 1;
}

int main(int argc, char **argv)
{
    struct glr_client *client;
    struct glr_job *job;
    double lr = 0.001, weight = 0;

    if (glr_client_open(nullptr, &client)) return failed("client");
    glr_code code = glr_job_create(client, argc > 1 ? argv[1] : "recipe-cpp", &lr, 1,
                                   R"({"greedy": {"patience": 2}})", &job);
    if (code && code != GLR_UNAVAILABLE) return failed("job");  // unavailable: training does not wait for it

    for (unsigned epoch = 1; epoch <= 10; epoch++) {
        struct glr_report report = {};  // "struct": a function has the name as well
        report.size = sizeof report;
        report.value = train_and_validate(weight, lr);
        report.has_step = true;
        report.step = epoch;
        struct glr_decision decision = {};
        decision.size = sizeof decision;
        if (!glr_report(job, &report, &decision)) lr = decision.lr;  // else the rate stays as it is
        std::printf("epoch %u: loss %.4f, rate %.3g\n", epoch, report.value, lr);
    }
    if (glr_flush(job)) failed("values not delivered");
    glr_job_close(job);
    glr_client_close(client);
}
